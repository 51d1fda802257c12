"""An `ExportSpec` is the command line by another name: the same options, defaults, rules and result."""

import dataclasses
import inspect
import json
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli import export as export_command
from exporter.cli.flags import request_options, understand
from exporter.contract import DAY, FILTERS, FilterKind, parse_timestamp
from exporter.errors import UsageError
from exporter.options.spec import ExportSpec

TOKEN = "ak_a-secret-of-the-tests"
ENVIRONMENT = {"ANYREACH_TOKEN": TOKEN, "ANYREACH_BASE_URL": "http://localhost:1"}
#: How progress is shown, and where the command stands itself.
OF_THE_COMMAND_LINE = {"as_json", "verbose", "log_format", "options"}
OF_PYTHON = {"token", "base_url"}
NOW = 1_800_000_000_000_000


def command_line() -> dict[str, Any]:
    """The options of `exporter export` with their defaults; `filters` stands for `--filter`."""
    own = inspect.signature(export_command.export).parameters
    shared = inspect.signature(request_options).parameters
    options = {name: each.default for name, each in {**own, **shared}.items() if name not in OF_THE_COMMAND_LINE}
    options["filters"] = options.pop("raw")
    return options


def test_it_has_the_options_of_the_command_line_with_their_defaults() -> None:
    fields = {each.name: each.default for each in dataclasses.fields(ExportSpec)}
    options = command_line()
    assert fields.keys() == options.keys() | OF_PYTHON
    del options["destination"]  # which the command line has to have
    assert {name: fields[name] for name in options} == options


VALUES = {
    FilterKind.TEXT: st.sampled_from(["x", "a,b", " "]),
    FilterKind.INTEGER: st.integers(0, 10**6),
    FilterKind.METADATA: st.sampled_from([{"order_id": "1"}, {}]),
    FilterKind.TIME: st.sampled_from(["2026-01-01", "2026-01-01T10:00:00+02:00"]),
}
filters = st.fixed_dictionaries(
    {},
    optional={
        each.name: st.sampled_from(each.choices) if each.kind is FilterKind.CHOICE else VALUES[each.kind]
        for each in FILTERS
    },
)


@given(
    filters,
    st.dictionaries(st.sampled_from(["colour", "size"]), st.text(max_size=3)),
    st.sampled_from([None, ("id", "status", "duration"), ("summary",)]),
    st.sampled_from([None, "7d", "2025-12-31"]),
)
def test_it_comes_to_what_the_command_line_comes_to(
    named: dict[str, Any], raw: dict[str, str], fields: tuple[str, ...] | None, since: str | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr("time.time_ns", lambda: NOW * 1000)
        spec = ExportSpec(**named, filters=raw, fields=fields, since=since).understand(ENVIRONMENT)
        options = {name: each.default for name, each in inspect.signature(request_options).parameters.items()}
        texts = {name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in named.items()}
        options |= {name: [text] for name, text in texts.items()}
        options |= {"raw": [f"{name}={value}" for name, value in raw.items()], "since": since}
        options["fields"] = None if fields is None else ",".join(fields)
        typed_in = understand(options)
    assert spec.asked == typed_in.asked
    assert spec.credentials == typed_in.credentials
    assert dataclasses.replace(spec, settings=typed_in.settings) == typed_in
    # A program has its own ideas of signals.
    assert (spec.settings.heeds_signals, typed_in.settings.heeds_signals) == (False, True)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"page_size": 0}, "--page-size 0: has to be from 1 to 1000"),
        ({"channel": "fax"}, "--channel 'fax': known values are"),
        ({"filters": {"cursor": "x"}}, "--filter cursor: the exporter sets this itself"),
        ({"filters": {"status": "x"}, "status": "failed"}, "the filter status is given twice"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "nothing to export"),
        ({"since": "2026-01-01", "created_after": date(2026, 1, 1)}, "give one of them"),
        ({"since": "yesterday"}, "--since 'yesterday'"),
        ({"fields": ["id", "agents"]}, "--fields: no such field: agents"),
        ({"exclude_fields": "id"}, "--exclude-fields: id cannot be left out"),
        ({"memory": "1MB"}, "--memory: has to be at least 256MiB"),
        ({"part_size": "huge"}, "--part-size 'huge'"),
        ({"max_rps": -1}, "--max-rps -1"),
        ({"custom_metadata": "[]"}, "--custom-metadata '[]'"),
        ({"partition_by": "week"}, "partition_by: has to be day or hour or month or none, not 'week'"),
        ({"partition_by": ["day"]}, "partition_by: has to be"),
        ({"trust_clock": "mine"}, "trust_clock: has to be server or local, not 'mine'"),
        ({"table_format": "parquet"}, "table_format: has to be delta or iceberg, not 'parquet'"),
        ({"concurrency": "8"}, "concurrency: has to be int, not str"),
        ({"concurrency": None}, "concurrency: has to be int, not NoneType"),
        ({"lag": True}, "lag: has to be int, not bool"),
        ({"filters": ["a=b"]}, "filters: has to be Mapping, not list"),
        ({"org_id": 5}, "org_id: has to be str, not int"),
        ({"token": b"ak_secret"}, "token: has to be str, not bytes"),
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
    ).understand(ENVIRONMENT)
    assert (spec.asked.since, spec.asked.until) == (
        parse_timestamp("2026-01-01"),
        parse_timestamp("2026-01-02T10:00:00.000005"),
    )
    assert ExportSpec(since=datetime(2026, 1, 1)).understand(ENVIRONMENT).asked.since == parse_timestamp("2026-01-01")
    inclusive = ExportSpec(created_before=datetime(2026, 1, 1, tzinfo=UTC)).understand(ENVIRONMENT)
    assert inclusive.asked.until == parse_timestamp("2026-01-01") + 1
    assert spec.asked.filters is None


def test_ages_count_from_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: NOW * 1000)
    spec = ExportSpec(since="1d")
    assert spec.understand(ENVIRONMENT).asked.since == NOW - DAY
    monkeypatch.setattr("time.time_ns", lambda: (NOW + DAY) * 1000)
    assert spec.understand(ENVIRONMENT).asked.since == NOW


def test_who_asks_and_where_are_given_or_the_environment_s(tmp_path: Path) -> None:
    kept = tmp_path / "token"
    kept.write_text("ak_kept\n")
    kept.chmod(0o600)
    assert ExportSpec().understand(ENVIRONMENT).credentials.token == TOKEN
    assert ExportSpec(token="ak_given").understand(ENVIRONMENT).credentials.token == "ak_given"
    assert ExportSpec(token_file=str(kept)).understand(ENVIRONMENT).credentials.token == "ak_kept"
    personal = ExportSpec(token="pat_mine", org_id="org_1").understand({}).credentials
    assert (personal.token, personal.organization) == ("pat_mine", "org_1")
    given_url = ExportSpec(base_url="https://other.example/").understand(ENVIRONMENT)
    assert given_url.settings.base_url == "https://other.example"
    with pytest.raises(UsageError, match="no token: set ANYREACH_TOKEN"):
        ExportSpec().understand({})
    with pytest.raises(UsageError, match="give one of them"):
        ExportSpec(token=TOKEN, token_file=kept).understand({})
    with pytest.raises(UsageError, match="would travel unencrypted"):
        ExportSpec(base_url="http://10.0.0.1").understand(ENVIRONMENT)


def test_nothing_shows_the_token() -> None:
    spec = ExportSpec(token=TOKEN, destination="out")
    understood = spec.understand({})
    for shown in (repr(spec), str(spec), f"{spec}", repr(understood), str(understood)):
        assert TOKEN not in shown
    assert "destination='out'" in repr(spec)
    # It is a value, and goes wherever values go: to another process, too.
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_it_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExportSpec().since = "7d"  # type: ignore[misc]
    with pytest.raises(TypeError):
        ExportSpec("out")  # type: ignore[call-arg]
    other = dataclasses.replace(ExportSpec(since="7d"), destination="out")
    assert (other.since, other.destination) == ("7d", "out")
