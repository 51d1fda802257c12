"""The figures of a report are those of its rows, counted by plain Python, and its sections say why they are absent."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from exporter.contract import DAY, HOUR, Instant, parse_timestamp
from exporter.errors import UsageError
from exporter.jobs.verify import verify
from exporter.report import scope
from exporter.report.figures import BY_COLUMNS
from exporter.report.model import Absent, Group, Report, Turns, Volume
from exporter.sandbox import Row, make_conversations
from tests.jobs.kept_recordings import keep_rows
from tests.jobs.made import make_export
from tests.report.counted import Counted, least, milliseconds
from tests.report.reports import report_of

SINCE, UNTIL = parse_timestamp("2026-03-20"), parse_timestamp("2026-04-04T06:30")
#: An hour in it does not exist in Berlin.
CHANGE = parse_timestamp("2026-03-29T01:00Z")
TABLES = ("conversations", "turns")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes an export with turns and a few recordings, whose agents have gone through versions."""
    root = tmp_path_factory.mktemp("report") / "calls"
    rows = [
        *make_conversations(260, SINCE, UNTIL, seed=4, density="flat"),
        *make_conversations(20, CHANGE - HOUR, CHANGE + HOUR, seed=5, density="flat"),
    ]
    make_export(root, rows, SINCE, until=UNTIL, tables=TABLES)
    statuses = ("stored", "stored", "gone", "failed", "expired", "refused", "stored")
    kept = {f"c{number}": (SINCE + number * DAY, status, b"x" * (number + 1)) for number, status in enumerate(statuses)}
    anyio.run(keep_rows, root, kept)
    return root


@pytest.fixture(scope="module")
def report(made: Path) -> Report:
    return report_of(made)


@pytest.mark.parametrize(
    ("since", "until", "zone", "by"),
    [
        (SINCE, UNTIL, "UTC", "channel"),
        (SINCE + 5 * HOUR, UNTIL - 3 * DAY, "America/New_York", "agent_id"),
        (CHANGE - DAY, CHANGE + DAY, "Europe/Berlin", "status"),
    ],
)
def test_figures_are_those_of_the_rows(
    made: Path, since: Instant, until: Instant, zone: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "_CHUNK_ROWS", 300)
    found = report_of(made, since=since, until=until, by=by, timezone=zone)
    counted = Counted.of(made, since, until, zone)
    assert found.conversations == len(counted.conversations) > 20
    assert found.is_narrowed == ((since, until) != (SINCE, UNTIL))
    check_volume(found, counted, by)
    assert found.week == counted.week
    assert isinstance(found.statuses, tuple)
    assert {one.name: one.count for one in found.statuses} == Counter(row["status"] for row in counted.conversations)
    check_groups(found.groups, counted, by)
    check_groups(found.versions, counted, "agent_version_id")
    check_turns(found, counted)


def check_volume(found: Report, counted: Counted, by: str) -> None:
    volume = found.volume
    assert isinstance(volume, Volume)
    assert volume.grain == "day"
    expected = counted.by_day(by)
    named = {one.name: dict(zip(volume.periods, one.values, strict=True)) for one in volume.series if not one.is_rest}
    for (day, name), number in expected.items():
        if name in named:
            assert named[name][day] == number
    assert sum(volume.total) == len(counted.conversations)
    days = Counter(day for day, _ in expected.elements())
    assert {day: number for day, number in zip(volume.periods, volume.total, strict=True) if number} == days
    assert {one.day: one.conversations for one in found.days if one.conversations} == days
    for position, total in enumerate(volume.total):
        assert sum(one.values[position] or 0 for one in volume.series) == total


def check_groups(groups: Any, counted: Counted, column: str) -> None:
    names = Counter(row[column] for row in counted.conversations)
    assert {one.name: one.conversations for one in groups} == names
    assert [one.conversations for one in groups] == sorted(names.values(), reverse=True)
    group: Group
    for group in groups:
        where = {column: group.name}
        for name, shown in (("duration", "duration"), ("user_turn_count", "user_turns")):
            for share, text in ((0.5, "p50"), (0.95, "p95")):
                expected = least(counted.values(name, **where), share)
                assert is_near(getattr(group, f"{shown}_{text}"), expected)
        said = counted.said(column, group.name)
        latencies = milliseconds(said)
        assert group.latency_count == len(latencies)
        for share, shown_value in ((0.5, group.latency_p50), (0.95, group.latency_p95)):
            assert is_near(shown_value, least(latencies, share), 0.001)
        interrupted = sum(turn["interrupted"] for turn in said)
        assert group.interruption_rate == (round(interrupted / len(said), 6) if interrupted or latencies else None)
        agents = {row["agent_id"] for row in counted.conversations if row[column] == group.name}
        assert column != "agent_version_id" or agents == {group.agent_id}


def is_near(found: float | None, expected: float | None, unit: float = 1) -> bool:
    """Returns whether a quantile is as near as a report promises."""
    if found is None or expected is None:
        return found is expected
    return found == pytest.approx(expected * unit, rel=0.002)


def check_turns(found: Report, counted: Counted) -> None:
    turns = found.turns
    assert isinstance(turns, Turns)
    said = counted.messages
    assert (turns.items, turns.messages) == (len(counted.turns), len(said))
    assert turns.interrupted == sum(turn["interrupted"] for turn in said)
    assert not isinstance(turns.latency, Absent)
    assert not isinstance(turns.latency_by_period, Absent)
    latencies = milliseconds(said)
    assert (turns.latency.count, turns.latency.missing) == (len(latencies), len(said) - len(latencies))
    for period, count, p95 in zip(
        turns.periods, turns.latency_by_period.counts, turns.latency_by_period.p95, strict=True
    ):
        values = milliseconds(
            turn for turn in said if counted.local(turn["conversation_created_at"]).date().isoformat() == period
        )
        assert count == len(values)
        assert is_near(p95, least(values, 0.95), 0.001)
    heard = [turn["transcript_confidence"] for turn in counted.turns if turn["role"] == "user"]
    known = [round(value * 1000) for value in heard if value is not None]
    assert not isinstance(turns.confidence, Absent)
    assert (turns.confidence.count, turns.confidence.missing) == (len(known), len(heard) - len(known))
    assert turns.confidence.p50 == (least(known, 0.5) or 0) / 1000
    assert isinstance(turns.tools, tuple)
    tools = counted.tools
    assert {tool.name for tool in turns.tools} == tools.keys()
    for tool in turns.tools:
        expected_tool = tools[tool.name or ""]
        assert (tool.calls, tool.errors, tool.unanswered, tool.timed) == (
            expected_tool["calls"],
            expected_tool["errors"],
            expected_tool["unanswered"],
            len(expected_tool["took"]),
        )
        assert is_near(tool.duration_p50, least(expected_tool["took"], 0.5), 0.001)


def test_recordings_are_counted_by_day_and_by_what_became_of_them(report: Report) -> None:
    found = report.recordings
    assert not isinstance(found, Absent)
    assert found.kept[:7] == (1, 1, 0, 0, 0, 0, 1)
    assert found.lost[:7] == (0, 0, 1, 0, 0, 1, 0)
    assert found.left[:7] == (0, 0, 0, 1, 1, 0, 0)
    assert found.bytes[:7] == (1, 2, 0, 0, 0, 0, 7)
    assert found.statuses[0].name == "stored"
    assert sum(one.count for one in found.statuses) == 7


def test_files_are_those_of_the_disk(made: Path, report: Report) -> None:
    found = report.files
    on_disk = [*made.rglob("*.parquet")]
    assert sum(table.files for table in found.tables) == len(on_disk)
    assert sum(table.bytes for table in found.tables) == sum(path.stat().st_size for path in on_disk)
    assert sum(one.bytes for one in found.partitions) == sum(path.stat().st_size for path in on_disk)
    assert {one.name for one in found.partitions} == {path.parent.name for path in on_disk}
    assert not isinstance(found.growth, Absent)
    assert found.growth[-1].rows == report.trust.rows


def test_days_end_with_the_range_and_say_that_it_cuts_the_last_one(report: Report) -> None:
    found = report
    assert [day.state for day in found.days] == ["whole"] * 15 + ["cut"]
    assert (found.days[-1].day, found.days[-1].ends_at) == ("2026-04-04", "2026-04-04T06:30:00+00:00")
    assert found.days_count == 16
    assert found.until == "2026-04-04T06:30:00+00:00"


def test_the_same_export_gives_the_same_report(made: Path, report: Report) -> None:
    assert msgspec.json.encode(report_of(made)) == msgspec.json.encode(report)


def test_a_check_is_told_until_something_is_committed(made: Path, tmp_path: Path) -> None:
    root = shutil.copytree(made, tmp_path / "copy")
    before = {one.command: one for one in report_of(root).trust.checks}
    assert [one.ended_at for one in before.values()] == [None] * 3
    anyio.run(lambda: verify(root, now=UNTIL))
    after = {one.command: one for one in report_of(root).trust.checks}
    assert (after["verify"].exit_status, after["verify"].is_whole, after["verify"].is_latest) == (0, True, True)
    assert after["audit"] == before["audit"]
    anyio.run(keep_rows, root, {"late": (SINCE, "gone", b"")})
    later = {one.command: one for one in report_of(root).trust.checks}
    assert (later["verify"].ended_at, later["verify"].is_latest) == (after["verify"].ended_at, False)


def test_no_personal_data_is_in_it(made: Path, report: Report) -> None:
    text = msgspec.json.encode(report).decode()
    rows = Counted.of(made, SINCE, UNTIL, "UTC")
    private = {row[name] for row in rows.conversations for name in ("id", "user_id", "agent_number")} - {None}
    private |= {row["agent"]["name"] for row in rows.conversations if row["agent"]}
    private |= {turn["text"] for turn in rows.turns if turn["text"]}
    assert len(private) > 100
    assert not [value for value in private if value in text]
    assert str(made.parent) not in text


@pytest.mark.parametrize("column", ["user_id", "agent_number", "summary", "id", "no_such"])
def test_groups_that_may_name_people_are_refused(made: Path, column: str) -> None:
    with pytest.raises(UsageError, match="--by"):
        report_of(made, by=column)


def test_a_span_outside_of_the_range_is_refused(made: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to report: .* it has from 20.* up to 20"):
        report_of(made, since=UNTIL)
    with pytest.raises(UsageError, match="no such time zone"):
        report_of(made, timezone="Europe/Nowhere")


def test_an_empty_export_says_that_nothing_is_there(tmp_path: Path) -> None:
    found = report_of(make_export(tmp_path / "empty", [], tables=TABLES))
    assert (found.conversations, found.trust.state) == (0, "complete")
    for section in (found.volume, found.week, found.statuses, found.durations, found.groups, found.turns):
        assert section == Absent("there is no conversation between these times")
    assert isinstance(found.recordings, Absent)
    assert {day.state for day in found.days} == {"whole", "cut"}


def test_one_row_is_shown(tmp_path: Path) -> None:
    row = make_conversations(1, SINCE, UNTIL, seed=9)
    found = report_of(make_export(tmp_path / "one", row, SINCE, until=UNTIL, tables=TABLES))
    assert found.conversations == 1
    assert isinstance(found.groups, tuple)
    assert found.groups[0].share == 1.0
    assert sum(day.conversations for day in found.days) == 1


def test_fields_that_are_not_exported_are_named(tmp_path: Path) -> None:
    rows = make_conversations(20, SINCE, UNTIL, transcripts=False)
    found = report_of(make_export(tmp_path / "few", rows, SINCE, until=UNTIL, fields=("id", "created_at", "status")))
    assert found.by == "status"
    assert found.durations == Absent("the field duration is not exported")
    assert found.user_turns == Absent("the field user_turn_count is not exported")
    assert found.versions == Absent("the fields agent_id and agent_version_id are not exported")
    assert isinstance(found.turns, Absent)
    assert found.turns.reason.startswith("this export has no table of turns")
    assert isinstance(found.groups, tuple)
    assert {one.duration_p50 for one in found.groups} == {None}
    with pytest.raises(UsageError, match="--by channel: this field is not exported"):
        report_of(tmp_path / "few", by="channel")


def odd(number: int, **fields: Any) -> Row:
    known = {"id": f"odd{number}", "organization_id": "org", "status": "completed", "channel": "telephone"}
    return Row(SINCE + number * HOUR, fields={**known, **fields})


def test_the_start_is_included_and_the_end_is_not(tmp_path: Path) -> None:
    items = [{"type": "message", "role": "assistant", "content": "x", "metrics": {"e2e_latency": 1.0}}]
    root = tmp_path / "bounds"
    make_export(
        root, [odd(number, conversation={"items": items}) for number in range(4)], SINCE, until=UNTIL, tables=TABLES
    )
    found = report_of(root, since=SINCE + HOUR, until=SINCE + 3 * HOUR)
    assert (found.conversations, found.is_narrowed) == (2, True)
    assert isinstance(found.turns, Turns)
    assert found.turns.items == found.turns.messages == 2
    assert isinstance(found.groups, tuple)
    assert found.groups[0].latency_count == 2
    assert [(day.state, day.starts_at) for day in found.days] == [("cut", "2026-03-20T01:00:00+00:00")]


def test_withheld_transcripts_are_named(tmp_path: Path) -> None:
    sensitive = ("agent", "summary", "initial_context", "custom_metadata", "conversation", "recording_details")
    rows = [odd(number) for number in range(3)]
    assert not any(name in row.fields for row in rows for name in sensitive)
    found = report_of(make_export(tmp_path / "withheld", rows, SINCE, until=UNTIL, tables=TABLES))
    assert "conversation" in found.trust.withheld
    assert found.turns == Absent("the token may not see transcripts: the field conversation is withheld")


def test_odd_values_do_no_harm(tmp_path: Path) -> None:
    metrics = [{"e2e_latency": value} for value in (-1.0, 1e300, 0.0, 0.5)]
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "assistant", "content": "x", "metrics": one} for one in metrics
    ]
    items += [{"type": "message", "role": "user", "content": "x", "transcript_confidence": c} for c in (-2, 0.5, 7)]
    items += [{"type": "function_call", "name": "t" * 500, "arguments": "{}"}] * 2
    items += [{"type": "function_call_output", "call_id": "lost", "name": "t" * 500, "output": "", "is_error": True}]
    markup, long = "<script>\u202e\n", "v" * 5_000
    rows = [
        odd(1, duration=-5, user_turn_count=2**62, conversation={"items": items}),
        odd(2, duration=2**62, agent_version_id=markup, agent_id=markup),
        odd(3, duration=0, agent_version_id=long, channel="'; DROP VIEW conversations; --"),
    ]
    found = report_of(make_export(tmp_path / "odd", rows, SINCE, until=UNTIL, tables=TABLES))
    assert found.conversations == 3
    assert not isinstance(found.durations, Absent)
    assert (found.durations.count, found.durations.missing, found.durations.maximum) == (2, 1, 2.0**62)
    assert isinstance(found.versions, tuple)
    assert {one.name for one in found.versions} == {None, markup, "v" * 99 + "…"}
    assert isinstance(found.turns, Turns)
    assert not isinstance(found.turns.latency, Absent)
    assert (found.turns.latency.count, found.turns.latency.missing) == (2, 2)
    assert not isinstance(found.turns.confidence, Absent)
    assert (found.turns.confidence.count, found.turns.confidence.missing) == (1, 2)
    assert isinstance(found.turns.tools, tuple)
    (tool,) = found.turns.tools
    assert (tool.calls, tool.errors, tool.unanswered, tool.timed) == (2, 1, 2, 0)


def test_many_groups_end_with_the_rest(tmp_path: Path) -> None:
    rows = [
        odd(number, agent_id=f"agent-{number % 60:02d}", agent_version_id=f"v{number % 60:02d}") for number in range(90)
    ]
    found = report_of(make_export(tmp_path / "many", rows, SINCE, until=UNTIL), by="agent_id")
    assert isinstance(found.groups, tuple)
    assert isinstance(found.volume, Volume)
    assert (len(found.groups), found.groups[-1].is_rest, found.groups[-1].conversations) == (51, True, 10)
    assert sum(one.conversations for one in found.groups) == 90
    assert (len(found.volume.series), found.volume.series[-1].is_rest) == (8, True)
    assert sum(value or 0 for one in found.volume.series for value in one.values) == 90


def test_only_harmless_columns_are_offered() -> None:
    assert not {*BY_COLUMNS} & {"id", "user_id", "agent_number", "agent", "summary", "custom_metadata", "trunk_id"}
    assert json.dumps(BY_COLUMNS)
