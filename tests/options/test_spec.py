"""An `ExportSpec` is the command line under another name: the same options, defaults, rules and result."""

import dataclasses
import inspect
import json
import pickle
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli import main
from exporter.cli.export import export
from exporter.cli.option_flags import Display
from exporter.contract import DAY, FILTERS, FilterKind, parse_timestamp
from exporter.errors import ExporterError, UsageError
from exporter.jobs.summary import Summary
from exporter.options.dialect import for_caller
from exporter.options.option import options_of
from exporter.options.spec import OPTIONS, ExportSpec, Resolved
from exporter.run.context import RunContext
from exporter.settings import Selection

TOKEN = "ak_a-secret-of-the-tests"
ENVIRONMENT = {"ANYREACH_TOKEN": TOKEN, "ANYREACH_BASE_URL": "http://localhost:1"}
NOW = 1_800_000_000_000_000


def test_the_command_line_has_its_options_with_their_defaults() -> None:
    flags = inspect.signature(export).parameters
    assert set(OPTIONS) == flags.keys() - {"destination", "metrics_file", *options_of(Display)}
    fields = {each.name: each.default for each in dataclasses.fields(ExportSpec)}
    assert fields.keys() == OPTIONS.keys() | {"destination", "token", "base_url"}
    assert {name: flags[name].default for name in OPTIONS} == {name: fields[name] for name in OPTIONS}


def typed(command: list[str], monkeypatch: pytest.MonkeyPatch) -> Resolved:
    """Returns what a command line is resolved to."""
    resolved: list[Resolved] = []
    job = ModuleType("exporter.jobs.export")

    async def run(_: Path, asked: Selection, context: RunContext) -> Summary:
        resolved.append(Resolved(asked, context.settings, context.credentials, context.keys))
        raise ExporterError("enough")

    job.export = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exporter.jobs.export", job)
    assert main(command) == 1
    return resolved[0]


VALUES = {
    FilterKind.TEXT: st.sampled_from(["x", "a;b", " a b"]),
    FilterKind.INTEGER: st.integers(0, 10**6),
    FilterKind.METADATA: st.sampled_from([{"order_id": "1"}, {}]),
    FilterKind.TIME: st.sampled_from(["2026-01-01", "2026-01-01T10:00:00+02:00"]),
}
#: Filters that nothing can match together are refused.
UPPER = {FilterKind.INTEGER: st.integers(10**6, 10**7), FilterKind.TIME: st.sampled_from(["2026-01-02"])}
filters = st.fixed_dictionaries(
    {},
    optional={
        each.name: st.sampled_from(each.choices) | st.lists(st.sampled_from(each.choices), min_size=1, max_size=2)
        if each.kind is FilterKind.CHOICE
        else (UPPER if each.name.endswith(("_below", "_before")) else VALUES)[each.kind]
        for each in FILTERS
    },
)


def text_of(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else ",".join(value) if isinstance(value, list) else str(value)


@hypothesis.settings(max_examples=30, deadline=None)
@given(
    filters,
    st.dictionaries(st.sampled_from(["colour", "size"]), st.text(max_size=3)),
    st.sampled_from([None, ("id", "status", "duration"), ("summary",)]),
    st.sampled_from([None, "7d", "2025-12-31"]),
)
def test_it_comes_to_what_the_command_line_comes_to(
    named: dict[str, Any], raw: dict[str, str], fields: tuple[str, ...] | None, since: str | None
) -> None:
    texts = {name: text_of(value) for name, value in named.items()}
    command = ["export", "out", *(f"--{name.replace('_', '-')}={text}" for name, text in texts.items())]
    command += [f"--filter={name}={value}" for name, value in raw.items()]
    command += [] if fields is None else [f"--fields={','.join(fields)}"]
    command += [] if since is None else [f"--since={since}"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr("time.time_ns", lambda: NOW * 1000)
        spec = ExportSpec(**named, filters=raw, fields=fields, since=since).resolve(ENVIRONMENT)
        typed_in = typed(command, patch)
    # Functions are not equal, but their results are.
    asked, asked_there = spec.asked, typed_in.asked
    assert msgspec.structs.replace(asked, in_zone=None) == msgspec.structs.replace(asked_there, in_zone=None)
    assert (asked.in_zone is None) == (asked_there.in_zone is None)
    if asked.in_zone is not None and asked_there.in_zone is not None:
        assert asked.in_zone("Asia/Kathmandu") == asked_there.in_zone("Asia/Kathmandu")
    assert spec.credentials == typed_in.credentials
    assert msgspec.structs.replace(spec.settings, heeds_signals=True) == typed_in.settings
    # A program handles signals itself.
    assert (spec.settings.heeds_signals, typed_in.settings.heeds_signals) == (False, True)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"page_size": 0}, "page_size 0: must be from 1 to 1000"),
        ({"channel": "fax"}, "channel 'fax': known values are"),
        ({"filters": {"cursor": "x"}}, "filters cursor: the exporter sets this itself"),
        ({"filters": {"status": "x"}, "status": "failed"}, "the filter status is given twice"),
        (
            {"since": "2026-02-01", "until": "2026-01-01"},
            "since (2026-02-01T00:00:00Z) lies after until (2026-01-01T00:0",
        ),
        ({"since": "2026-01-01", "created_after": date(2026, 1, 1)}, "give only one of them"),
        ({"since": "the other day"}, "since 'the other day'"),
        ({"fields": ["id", "agents"]}, "fields: no such field: agents. Did you mean agent?"),
        ({"exclude_fields": "id"}, "exclude_fields: id cannot be left out"),
        ({"memory": "1MB"}, "memory: must be at least 256MiB"),
        ({"part_size": "huge"}, "part_size 'huge'"),
        ({"max_rps": -1}, "max_rps -1"),
        ({"custom_metadata": "[]"}, "custom_metadata '[]'"),
        ({"partition_by": "year"}, "partition_by: must be day, hour, week, month or none, not 'year'"),
        ({"timezone": "Berlin"}, "timezone 'Berlin': no such time zone. Did you mean Europe/Berlin?"),
        ({"partition_by": ["day"]}, "partition_by: must be"),
        ({"trust_clock": "mine"}, "trust_clock: must be server or local, not 'mine'"),
        ({"table_format": "parquet"}, "table_format: must be delta or iceberg, not 'parquet'"),
        ({"concurrency": "8"}, "concurrency: must be a whole number, not str"),
        ({"concurrency": None}, "concurrency: must be a whole number, not NoneType"),
        ({"lag": True}, "lag: must be a whole number or a text, not bool"),
        ({"filters": {"a": 3}}, "filters: a must be a text, not int"),
        ({"fields": 3}, "fields: must be a text or a list of names, not int"),
        (
            {"exclude_fields": "transcript"},
            "exclude_fields: no such field: transcript. The transcript is the field co",
        ),
        (
            {"partition_by": "moth"},
            "partition_by: must be day, hour, week, month or none, not 'moth'. Did you mean mo",
        ),
        ({"durration_above": 3}, "durration_above: there is no such option. Did you mean duration_above?"),
        ({"lag": "5 apples"}, "lag '5 apples': must be a duration such as 90s, 5m or 2h, or a number of seconds"),
        ({"filters": ["a=b"]}, "filters: must be a mapping, not list"),
        ({"org_id": 5}, "org_id: must be a text, not int"),
        ({"since": 5}, "since: must be a text or a date, not int"),
        ({"user_turn_count_above": "10"}, "user_turn_count_above: must be a whole number, not str"),
        ({"filters": {"agent-id": "3"}}, "filters agent-id: the API has no such parameter. Did you mean agent_id?"),
        ({"duration_above": 3, "duration_below": 2}, "nothing can match both duration_above 3 and dur"),
        ({"filters": {"a b": "c"}}, "filters 'a b=c': must be name=value"),
        ({"duration_above": -(10**18)}, "duration_above -1000000000000000000: must have at most 18 digits"),
        ({"memory": 10**20}, "memory 100000000000000000000: write a size as 256MB, 1GiB, or a number of bytes"),
        ({"insecure_http": "no"}, "insecure_http: must be True or False, not str"),
        ({"token": b"ak_secret"}, "token: must be a text, not bytes"),
        ({"status": b"x"}, "status: must be a text or a list of names, not bytes"),
        ({"fields": bytearray(b"id")}, "fields: must be a text or a list of names, not bytearray"),
        ({"fields": [b"id"]}, "fields: each of several must be a text, not bytes"),
        ({"agent_id": ("a", 7)}, "agent_id: each of several must be a text, not int"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_made(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as raised:
        ExportSpec(**wrong)
    assert complaint in str(raised.value)
    assert "ak_secret" not in str(raised.value)


def test_times_are_texts_dates_or_datetimes() -> None:
    spec = ExportSpec(
        since=date(2026, 1, 1), until=datetime(2026, 1, 2, 12, 0, 0, 5, timezone(timedelta(hours=2)))
    ).resolve(ENVIRONMENT)
    assert (spec.asked.since, spec.asked.until) == (
        parse_timestamp("2026-01-01"),
        parse_timestamp("2026-01-02T10:00:00.000005"),
    )
    assert ExportSpec(since=datetime(2026, 1, 1)).resolve(ENVIRONMENT).asked.since == parse_timestamp("2026-01-01")
    inclusive = ExportSpec(created_before=datetime(2026, 1, 1, tzinfo=UTC)).resolve(ENVIRONMENT)
    assert inclusive.asked.until == parse_timestamp("2026-01-01") + 1
    assert spec.asked.filters is None


def test_ages_count_from_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: NOW * 1000)
    spec = ExportSpec(since="1d")
    assert spec.resolve(ENVIRONMENT).asked.since == NOW - DAY
    monkeypatch.setattr("time.time_ns", lambda: (NOW + DAY) * 1000)
    assert spec.resolve(ENVIRONMENT).asked.since == NOW


#: 2026-02-11T20:00:00Z.
EVENING = 1_770_840_000_000_000
AHEAD, BEHIND = "Asia/Kathmandu", "America/Los_Angeles"


@pytest.mark.parametrize(
    ("times", "valid_in", "complaint"),
    [
        ({"since": "2026-02-12T01:00"}, {AHEAD}, "nothing to export: the range starts at "),
        ({"since": "2026-02-11T13:00"}, {AHEAD, "UTC"}, "nothing to export: the range starts at 2026-02-11T21:00:00Z"),
        ({"since": datetime(2026, 2, 12, 1)}, {AHEAD}, "nothing to export: the range starts at "),
        ({"since": date(2026, 2, 12)}, {AHEAD}, "nothing to export: the range starts at "),
        ({"created_after": "2026-02-12"}, {AHEAD}, "nothing to export: the range starts at "),
        ({"since": "2026-02-10T03:00", "until": "2026-02-10T00:00Z"}, {AHEAD}, "since (2026-02-10"),
        ({"since": "2026-02-10T00:00Z", "until": "2026-02-10T03:00"}, {"UTC", BEHIND}, "since (2026-02-10T00:00:00Z)"),
        ({"since": "today", "until": "3h"}, {"UTC", BEHIND}, "since (2026-02-11T18:15:00Z) lies after until (2026"),
        ({"since": "2026-02-10T00:00", "until": "2026-02-10T01:00+02:00"}, {AHEAD}, "since (2026-02-10"),
        ({"since": "2026-02-12", "until": "tomorrow"}, {AHEAD}, "nothing to export: the range starts at 2026-02-12T"),
        (
            {"updated_after": "2026-02-10T03:00", "updated_before": "2026-02-10T00:00Z"},
            {AHEAD},
            "nothing can match both updated_after 2026-02-10T",
        ),
    ],
)
def test_what_depends_on_a_zone_is_judged_in_the_one_that_counts(
    times: dict[str, Any], valid_in: set[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: EVENING * 1000)
    asked = ExportSpec(**times).resolve(ENVIRONMENT).asked
    for zone in (AHEAD, "UTC", BEHIND):
        if zone in valid_in:
            given = ExportSpec(**times, timezone=zone).resolve(ENVIRONMENT).asked
            there = asked.within(zone)
            assert (there.since, there.until, there.filters) == (given.since, given.until, given.filters)
            assert there.in_zone is None
            continue
        said = list[str]()
        for judge in (partial(ExportSpec, **times, timezone=zone), partial(in_program, asked, zone)):
            with pytest.raises(UsageError) as raised:
                judge()
            said.append(str(raised.value))
        assert said[0] == said[1]
        assert complaint in said[0]


def in_program(asked: Selection, zone: str) -> Selection:
    with for_caller():
        return asked.within(zone)


@pytest.mark.parametrize(
    "times",
    [
        {"since": "2026-02-10", "until": "2026-02-09T23:59"},
        {"since": "2026-02", "until": date(2026, 2, 1)},
        {"since": "today", "until": "yesterday"},
        {"since": "this-month", "until": "last-month"},
        {"since": "1h", "until": "2h"},
        {"since": "2026-02-11T20:00:00Z"},
        {"since": "0s"},
        {"created_after": datetime(2026, 2, 11, tzinfo=UTC), "until": "2d"},
        {"updated_after": "2026-02-10", "updated_before": "2026-02-09"},
    ],
)
def test_what_is_wrong_in_every_zone_is_said_when_it_is_made(
    times: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: EVENING * 1000)
    with pytest.raises(UsageError, match=r"nothing to export|lies after|nothing can match"):
        ExportSpec(**times)


def test_who_asks_and_where_are_given_or_the_environment_s(tmp_path: Path) -> None:
    kept = tmp_path / "token"
    kept.write_text("ak_kept\n")
    kept.chmod(0o600)
    assert ExportSpec().resolve(ENVIRONMENT).credentials.token == TOKEN
    assert ExportSpec(token="ak_given").resolve(ENVIRONMENT).credentials.token == "ak_given"
    assert ExportSpec(token_file=str(kept)).resolve(ENVIRONMENT).credentials.token == "ak_kept"
    personal = ExportSpec(token="pat_mine", org_id="org_1").resolve({}).credentials
    assert (personal.token, personal.organization) == ("pat_mine", "org_1")
    given_url = ExportSpec(base_url="https://other.example/").resolve(ENVIRONMENT)
    assert given_url.settings.base_url == "https://other.example"
    with pytest.raises(UsageError, match="no token: set ANYREACH_TOKEN"):
        ExportSpec().resolve({})
    with pytest.raises(UsageError, match="give only one of them"):
        ExportSpec(token=TOKEN, token_file=kept).resolve({})
    with pytest.raises(UsageError, match="would travel unencrypted"):
        ExportSpec(base_url="http://10.0.0.1").resolve(ENVIRONMENT)


def test_nothing_shows_the_token() -> None:
    spec = ExportSpec(token=TOKEN, destination="out")
    resolved = spec.resolve({})
    for shown in (repr(spec), str(spec), f"{spec}", repr(resolved), str(resolved)):
        assert TOKEN not in shown
    assert "destination='out'" in repr(spec)
    # It is a value, and can also be sent to another process.
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_it_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExportSpec().since = "7d"  # type: ignore[misc]
    with pytest.raises(TypeError):
        ExportSpec("out")  # type: ignore[call-arg, arg-type]
    other = dataclasses.replace(ExportSpec(since="7d"), destination="out")
    assert (other.since, other.destination) == ("7d", "out")
