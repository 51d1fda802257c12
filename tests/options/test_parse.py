import os
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import (
    BEGINNING,
    DAY,
    FIELD_NAMES,
    FILTERS,
    FILTERS_BY_NAME,
    HOUR,
    RESERVED_PARAMETERS,
    STATUSES,
    format_instant,
    parse_timestamp,
)
from exporter.errors import UsageError
from exporter.keys import is_open_to_others
from exporter.options.credentials import load_credentials
from exporter.options.filters import check_filter, choose_filters, parse_filter, parse_parameters
from exporter.options.parse import choose_fields, choose_range, to_bytes
from exporter.options.times import to_instant
from exporter.settings import Credentials, RunSettings, Selection, check_range

NOW = parse_timestamp("2026-02-10T12:00:00Z")
TOKEN = "ak_a-secret-of-the-tests"


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "0001-01-01"])
def test_times_outside_the_years_that_can_be_written_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="outside the years 1 to 9999"):
        to_instant(text, NOW, "--since")
    with pytest.raises(UsageError, match="outside the years 1 to 9999"):
        check_filter("updated_after", text)


@pytest.mark.parametrize(
    ("since", "until"), [("2026-02-10", "2026-02-10"), ("2026-02-10T02:00:00+02:00", "2026-02-10"), ("1h", "60m")]
)
def test_a_range_without_an_instant_is_refused(since: str, until: str) -> None:
    with pytest.raises(
        UsageError, match=r"^nothing to export: the range starts at 2026-.*Z and ends at 2026-.*Z\. Give "
    ):
        choose_range(since, until, None, None, NOW)


@pytest.mark.parametrize(("since", "until"), [("2026-02-10", "2026-02-09"), ("1d", "2d"), ("1h", "1d")])
def test_a_reversed_range_is_seen_as_one(since: str, until: str) -> None:
    message = r"^--\S+ \(.*\) lies after --\S+ \(.*\): swap them\?$"
    with pytest.raises(UsageError, match=message):
        choose_range(since, until, None, None, NOW)
    with pytest.raises(UsageError, match=message):
        choose_range(None, None, since, until, NOW)


def test_the_api_s_names_for_the_range_are_inclusive() -> None:
    start, end = choose_range(None, None, "2026-02-10", "2026-02-11", NOW)
    assert (start, end) == (parse_timestamp("2026-02-10"), parse_timestamp("2026-02-11") + 1)
    assert choose_range("2026-02-10", "2026-02-11", None, None, NOW) == (start, parse_timestamp("2026-02-11"))
    # One instant, named by both of its inclusive ends.
    start, end = choose_range(None, None, "2026-02-10", "2026-02-10", NOW)
    assert end is not None and start == end - 1


def test_the_last_instant_that_can_be_written_stays_writable_as_an_end() -> None:
    _, end = choose_range(None, None, None, "9999-12-31T23:59:59.999999Z", NOW)
    assert end is not None and parse_timestamp(format_instant(end)) == end


def test_a_range_may_be_open() -> None:
    assert choose_range(None, None, None, None, NOW) == (None, None)
    assert choose_range("1d", None, None, None, NOW) == (NOW - DAY, None)
    assert choose_range(None, "1h", None, None, NOW) == (None, NOW - HOUR)
    check_range(None, BEGINNING + 1)


def test_an_end_is_given_under_one_name() -> None:
    with pytest.raises(UsageError, match=r"^--since and --created-after: give only one of them$"):
        choose_range("1d", None, "1d", None, NOW)
    with pytest.raises(UsageError, match=r"^--until and --created-before: give only one of them$"):
        choose_range(None, "1d", None, "1d", NOW)


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("direction", "inbound", "inbound"),
        ("status", "token_created", "token_created"),
        ("user_id", "Ünï & co", "Ünï & co"),
        ("duration_above", "0", "0"),
        ("duration_above", "10m", "600"),
        ("user_turn_count_below", "12", "12"),
        ("custom_metadata", '{"order_id": "123"}', '{"order_id": "123"}'),
        ("custom_metadata", "{}", "{}"),
        ("updated_after", "2026-02-10", "2026-02-10T00:00:00Z"),
        ("updated_after", "2026-02", "2026-02-01T00:00:00Z"),
        ("updated_before", "2026-02-10T14:00:00.5+02:00", "2026-02-10T12:00:00.500Z"),
    ],
)
def test_a_filter_s_value_is_sent_as_the_api_reads_it(name: str, value: str, sent: str) -> None:
    assert check_filter(name, value) == sent


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("direction", "sideways", "--direction 'sideways': known values are inbound, outbound. To send a newer one"),
        ("channel", "Email", "--channel 'Email': known values are telephone, webrtc, email, text."),
        ("status", "", "--status: a value is empty; known values are token_created"),
        ("duration_above", "-1", "--duration-above -1: must be 0 or more"),
        ("user_turn_count_below", "-1", "--user-turn-count-below -1: must be 0 or more"),
        ("custom_metadata", "[1]", "--custom-metadata '[1]': must be a JSON object"),
        ("custom_metadata", "{", "--custom-metadata '{': must be a JSON object"),
        ("custom_metadata", "[" * 100_000, "--custom-metadata '[[["),
        ("updated_after", "soon", "--updated-after 'soon': not a time."),
        ("updated_after", "last-week", "--updated-after 'last-week': must be a time such as 2026-02-10, the same"),
        ("updated_before", "7d", "--updated-before '7d': must be a time such as 2026-02-10, the same"),
        ("agent_id", "", "--agent-id: must have a value"),
        ("user_id", " ", "--user-id: must have a value"),
    ],
)
def test_a_filter_that_the_api_would_not_understand_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_filter(name, value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["1.5", "", "٣", "5m"])
def test_what_is_typed_for_a_number_is_a_whole_number(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filter("user_turn_count_above", text)
    assert str(caught.value) == f"--user-turn-count-above {text!r}: must be a whole number"


@given(st.sampled_from(FILTERS), st.text(max_size=20))
def test_any_value_of_a_filter_is_sent_or_is_a_usage_error(known: object, value: str) -> None:
    name = next(name for name, candidate in FILTERS_BY_NAME.items() if candidate == known)
    try:
        check_filter(name, parse_filter(name, value))
    except UsageError as error:
        assert str(error).startswith("--" + name.replace("_", "-"))


def test_what_a_program_gives_is_sent_as_the_api_reads_it() -> None:
    moment = datetime(2026, 2, 10, 14, 0, 0, 500_000, timezone(timedelta(hours=2)))
    assert check_filter("updated_after", moment) == "2026-02-10T12:00:00.500Z"
    assert check_filter("updated_after", date(2026, 2, 10)) == "2026-02-10T00:00:00Z"
    assert check_filter("duration_above", 10) == "10"
    assert check_filter("custom_metadata", MappingProxyType({"order_id": "123"})) == '{"order_id": "123"}'
    with pytest.raises(UsageError, match=r"^--custom-metadata .*: must be a JSON object"):
        check_filter("custom_metadata", {"order_id": object()})


def test_days_in_a_range_and_in_filters_are_those_of_the_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    midnights = (parse_timestamp("2026-02-09T23:00:00Z"), parse_timestamp("2026-07-09T22:00:00Z"))
    assert choose_range("2026-02-10", date(2026, 7, 10), None, None, NOW, zone) == midnights
    assert choose_filters({"updated_after": "2026-02-10"}, {}, zone) == {"updated_after": "2026-02-09T23:00:00Z"}


def test_a_parameter_is_not_looked_into() -> None:
    assert parse_parameters(["status=on_hold", "a[b]=c=d", "note="]) == {"status": "on_hold", "a[b]": "c=d", "note": ""}


@pytest.mark.parametrize("text", ["", "status", "=x", "a b=c", "a&b=c", "1=2"])
def test_a_parameter_must_be_name_and_value(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_filters({}, parse_parameters([text]))
    assert str(caught.value) == f"--filter {text!r}: must be name=value"


@pytest.mark.parametrize("name", RESERVED_PARAMETERS)
def test_a_parameter_cannot_take_what_the_walk_sets(name: str) -> None:
    with pytest.raises(UsageError, match=f"^--filter {name}: the exporter sets this itself"):
        choose_filters({}, {name: "1"})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("agent-id", "the API has no such parameter. Did you mean agent_id?"),
        ("agnt_id", "the API has no such parameter. Did you mean agent_id?"),
        ("Agent_ID", "the API has no such parameter. Did you mean agent_id?"),
        ("statuses", "the API has no such parameter. Did you mean status?"),
        ("durationAbove", "the API has no such parameter. Did you mean duration_above?"),
        ("created-after", "the API has no such parameter. Did you mean created_after?"),
        ("since", "this is no parameter of the API; use --since"),
        ("page-size", "this is no parameter of the API; use --page-size"),
        ("state", "the API has no such parameter. Did you mean status?"),
        ("Agent", "the API has no such parameter. Did you mean agent_id?"),
        ("user", "the API has no such parameter. Did you mean user_id?"),
        ("organization_id", "this is no parameter of the API; use --org-id"),
    ],
)
def test_a_slip_of_a_known_name_is_refused(name: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_filters({}, {name: "3"})
    assert str(caught.value) == f"--filter {name}: {advice}"


def slips_of(name: str) -> set[str]:
    """Returns names with one letter missing, swapped with its neighbour, wrong, or too many."""
    cuts = [(name[:at], name[at:]) for at in range(len(name) + 1)]
    swapped = {before + after[1::-1] + after[2:] for before, after in cuts}
    shorter = {before + after[1:] for before, after in cuts}
    other = {f"{before}{letter}{after[skipped:]}" for before, after in cuts for letter in "ez" for skipped in (0, 1)}
    return (swapped | shorter | other) - {name}


@pytest.mark.parametrize("name", FILTERS_BY_NAME)
def test_each_slip_of_one_letter_is_refused(name: str) -> None:
    for slip in slips_of(name):
        with pytest.raises(UsageError, match=rf"^--filter {slip}: .*\bDid you mean {name}\?$"):
            choose_filters({}, {slip: "completed"})


@pytest.mark.parametrize(
    "name",
    [
        *("order", "page", "sort", "tag", "agent_name", "duration", "trunk_id", "created_by", "event_id", "parent_id"),
        *("log_id", "stage", "site", "unit", "title", "started_after"),
    ],
)
def test_another_name_may_be_a_parameter_that_the_api_has_got_since(name: str) -> None:
    assert choose_filters({}, {name: "3"}) == {name: "3"}


@pytest.mark.parametrize("name", FILTERS_BY_NAME)
def test_a_known_name_is_none_of_another_s_slips(name: str) -> None:
    assert choose_filters({}, {name: "3"}) == {name: "3"}


@pytest.mark.parametrize(
    ("named", "parameters"),
    [
        ({"duration_above": 10, "duration_below": 5}, {}),
        ({"user_turn_count_above": 10, "user_turn_count_below": 9}, {}),
        ({"updated_after": "2026-02-10", "updated_before": "2026-02-09"}, {}),
        ({"duration_above": 10}, {"duration_below": "5"}),
    ],
)
def test_filters_that_nothing_can_match_together_are_refused(
    named: dict[str, object], parameters: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match=r"^nothing can match both --[a-z-]+ [0-9TZ:-]+ and --.*: swap the two values"):
        choose_filters(named, parameters)


def test_filters_that_meet_are_not_reversed() -> None:
    assert choose_filters({"duration_above": 10, "duration_below": 10}, {}) is not None
    assert choose_filters({"updated_after": "2026-02-10", "updated_before": "2026-02-10"}, {}) is not None
    assert choose_filters({"duration_above": 10}, {"duration_below": "new"}) is not None


@pytest.mark.parametrize(
    ("filters", "complaint"),
    [
        ({"a": 3}, "a must be a text, not int"),
        ({"a": None}, "a must be a text, not NoneType"),
        ({"a": ["x"]}, "a must be a text, not list"),
        ({3: "a"}, "a name must be a text, not int"),
    ],
)
def test_names_and_values_of_a_program_s_filters_are_texts(filters: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_filters({}, filters)
    assert str(caught.value) == f"filters: {complaint}"


def test_filters_of_both_kinds_are_gathered() -> None:
    assert choose_filters({"status": None, "channel": None}, {}) is None
    assert choose_filters({"status": "failed"}, {"a": "b"}) == {"status": "failed", "a": "b"}


@given(st.lists(st.sampled_from(STATUSES), min_size=1), st.sampled_from(["each", "text", "texts"]))
def test_several_values_come_to_the_same_however_they_are_given(values: list[str], how: str) -> None:
    given_as = {"each": values, "text": ",".join(values), "texts": [", ".join(values), values[0]]}[how]
    unique = tuple(sorted(set(values)))
    expected = unique[0] if len(unique) == 1 else unique
    assert choose_filters({"status": given_as}, {}) == {"status": expected}


@pytest.mark.parametrize("given_as", ["a,b", ["b", "a,b"]])
def test_ids_with_commas_between_them_are_no_id(given_as: object) -> None:
    with pytest.raises(UsageError, match=r"^--agent-id 'a,b': an id has no comma. For several, give --agent-id once"):
        choose_filters({"agent_id": given_as}, {})
    with pytest.raises(UsageError, match=r"has no comma. To send this one unchecked, give --filter web_widget_id="):
        choose_filters({"web_widget_id": "a,b"}, {})
    assert choose_filters({"agent_number": "a,b"}, {"agent_id": "a,b"}) == {"agent_number": "a,b", "agent_id": "a,b"}


def test_blanks_around_a_value_are_none_of_it() -> None:
    assert choose_filters({"agent_id": [" a", "a"], "user_id": " x y\n"}, {}) == {"agent_id": "a", "user_id": "x y"}


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ({"status": []}, "--status: must have a value"),
        ({"status": ["completed", "Failed"]}, "--status 'Failed': known values are "),
        ({"status": ["completed", "Failed"]}, ". Did you mean failed? To send a newer one unchecked"),
        ({"agent_id": ["a", ""]}, "--agent-id: must have a value"),
        ({"agent_id": ["a", 7]}, "--agent-id 7: must be text"),
        (
            {"status": STATUSES, "channel": ["email", "text"], "direction": ["inbound", "outbound"]},
            "--direction, --channel, --status: each combination of values is a list to read, and these are 36 lists; "
            "at most 32 can be read together.",
        ),
    ],
)
def test_values_that_cannot_be_read_are_refused(named: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_filters({name: named.get(name) for name in FILTERS_BY_NAME}, {})
    assert complaint in str(caught.value)


def test_a_filter_that_is_given_twice_is_refused() -> None:
    message = r"^the filter status is given twice: 'completed' and 'failed'$"
    with pytest.raises(UsageError, match=message):
        choose_filters({"status": "completed"}, {"status": "failed"})
    with pytest.raises(UsageError, match=r"^the filter status is given twice: 'completed,failed' and 'ringing'$"):
        choose_filters({"status": ["failed", "completed"]}, {"status": "ringing"})
    with pytest.raises(UsageError, match=message):
        parse_parameters(["status=completed", "status=failed"])


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1B", 1),
        ("10000", 10_000),
        ("1000000", 10**6),
        ("256MB", 256 * 10**6),
        ("256 MiB", 256 * 2**20),
        ("1gib", 2**30),
        ("8kB", 8000),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert to_bytes(text, "--part-size") == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1", "1.5GB", "1TB", "1 M", "1_000"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--part-size .*: write a size as 256MB, 1GiB, or a number of bytes$"):
        to_bytes(text, "--part-size")


def test_a_small_number_must_have_its_unit() -> None:
    for size in (1, "10", "9999"):
        with pytest.raises(UsageError, match=f"^--memory {size}: .* must have its unit: {size}MiB, or {size}B$"):
            to_bytes(size, "--memory")
    assert to_bytes(0, "--memory") == 0


def test_the_fields_that_are_always_needed_are_asked_for() -> None:
    assert choose_fields(None, None) is None
    assert choose_fields("summary, channel", None) == (
        "id", "channel", "status", "created_at", "updated_at", "summary",
    )  # fmt: skip
    without = choose_fields(None, "conversation")
    assert without == tuple(name for name in FIELD_NAMES if name != "conversation")


@pytest.mark.parametrize(
    ("only", "without", "message"),
    [
        ("id", "agent", "--fields and --exclude-fields: give only one of them"),
        ("", None, "--fields: must name a field"),
        (None, " , ", "--exclude-fields: must name a field"),
        ("id,nme,Id", None, "--fields: no such field: Id, nme. Did you mean id?"),
        (None, "transcript", "--exclude-fields: no such field: transcript. The transcript is the field conversation"),
        (None, "agent,status,id", "--exclude-fields: id, status cannot be left out"),
    ],
)
def test_fields_that_cannot_be_chosen(only: str | None, without: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_fields(only, without)
    assert str(caught.value).startswith(message)


def test_the_token_comes_from_the_environment_or_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert load_credentials({"ANYREACH_TOKEN": f" {TOKEN} "}) == Credentials(TOKEN)
    assert load_credentials({"ANYREACH_TOKEN": "another"}, file) == Credentials(TOKEN)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(mode)
    if os.getuid() == 0:
        os.chown(file, 65_534, 65_534)
    with pytest.raises(UsageError, match=r"others can read it; run: chmod 600 ") as caught:
        load_credentials({}, file)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "owner", "is_open"),
    [
        (0o100600, 0, False),
        (0o100440, 0, False),
        (0o100640, 0, False),
        (0o100440, 1000, True),
        (0o100660, 0, True),
        (0o100444, 0, True),
        (0o100400, 1000, False),
    ],
)
def test_a_group_may_read_a_secret_that_root_owns(mode: int, owner: int, is_open: bool) -> None:
    assert is_open_to_others(mode, owner) == is_open


def test_a_secret_that_a_platform_lets_all_read_is_to_be_mounted_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UsageError, match=r"others can read it; mount it with mode 0400, or 0440 if root owns it$"):
        load_credentials({}, file)


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    binary.chmod(0o600)
    empty = tmp_path / "empty"
    empty.write_bytes(b" \n")
    empty.chmod(0o600)
    # Nobody writes to it.
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, reason in [
        (tmp_path / "none", "No such file or directory"),
        (binary, "not a text file"),
        (empty, "holds no token"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(UsageError) as caught:
            load_credentials({}, path)
        assert str(caught.value) == f"--token-file {path}: {reason}"


@pytest.mark.parametrize("environment", [{}, {"ANYREACH_TOKEN": ""}, {"ANYREACH_TOKEN": " \n"}])
def test_without_a_token_nothing_starts(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^no token: set ANYREACH_TOKEN, or give --token-file or --token-command$"):
        load_credentials(environment)


@pytest.mark.parametrize("token", ["ak_a b", "ak_a\r\nX-Evil: 1", "ak_é", "ak_\x00"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(UsageError, match=r"^the token holds a character that no header can carry") as caught:
        load_credentials({"ANYREACH_TOKEN": token})
    assert token not in str(caught.value)


def test_a_personal_token_needs_its_organization() -> None:
    environment = {"ANYREACH_TOKEN": "pat_x"}
    with pytest.raises(UsageError, match=r"^a personal token \(pat_\) needs its organization: set ANYREACH_ORG_ID"):
        load_credentials(environment)
    assert load_credentials(environment, organization="org_1") == Credentials("pat_x", "org_1")
    assert load_credentials({**environment, "ANYREACH_ORG_ID": "org_2"}) == Credentials("pat_x", "org_2")
    assert load_credentials({**environment, "ANYREACH_ORG_ID": ""}, organization=" org_1 ").organization == "org_1"
    assert load_credentials({"ANYREACH_TOKEN": "ak_x", "ANYREACH_ORG_ID": " "}).organization is None
    for empty in ("", " "):
        with pytest.raises(UsageError, match=r"^--org-id: must have a value; is the variable "):
            load_credentials({"ANYREACH_TOKEN": "ak_x", "ANYREACH_ORG_ID": "org_2"}, organization=empty)
    with pytest.raises(UsageError, match=r"^the organization id holds a character that no header can carry$"):
        load_credentials(environment, organization="org\r\n1")


def test_credentials_do_not_show_the_token() -> None:
    credentials = Credentials(TOKEN, "org_1")
    assert TOKEN not in repr(credentials) + str(credentials) + f"{credentials}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory_bytes": 255 * 1024**2}, "--memory: must be at least 256MiB"),
        ({"page_size": 0}, "--page-size 0: must be from 1 to 1000"),
        ({"page_size": 1001}, "--page-size 1001: must be from 1 to 1000"),
        ({"concurrency": 0}, "--concurrency 0: must be from 1 to 1024"),
        ({"max_rps": 0.0}, "--max-rps 0: must be a number above 0"),
        ({"wait_seconds": 0.5}, "--wait 0.5: must be from 1 second to 1 day"),
        ({"max_rps": float("nan")}, "--max-rps nan: must be a number above 0"),
        ({"max_rps": float("inf")}, "--max-rps inf: must be a number above 0"),
        ({"lag_seconds": -1}, "--lag -1s: must be from 0 to 366 days"),
        ({"target_part_bytes": 0}, "--part-size: must be at least one byte"),
    ],
)
def test_settings_out_of_bounds(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        RunSettings(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_turns_need_the_transcripts() -> None:
    Selection(tables=("conversations", "turns"), fields=("id", "conversation"))
    Selection(tables=("conversations",), fields=("id",))
    with pytest.raises(UsageError, match="the field conversation"):
        Selection(tables=("conversations", "turns"), fields=("id",))
