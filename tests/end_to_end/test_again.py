"""Tests the same command again, the bare command, a wider range, and another request for the same destination."""

import json
from pathlib import Path

import pytest

from exporter.contract import DAY, SECOND, Instant, format_instant, parse_timestamp
from exporter.fetch.walk.zone import MOST_ZONE_SHIFT
from exporter.sandbox import Behaviour, Row, make_conversations
from tests.end_to_end.conftest import Command, CommandResult, Serving
from tests.end_to_end.export_directory import ExportDirectory, parse_interval, snapshot
from tests.end_to_end.records import SINCE, UNTIL, conversation, records

pytestmark = pytest.mark.usefixtures("hasty")

MIDDLE = SINCE + 20 * DAY
LATER = SINCE + 40 * DAY


def between(since: Instant, until: Instant) -> tuple[str, ...]:
    return "--since", format_instant(since), "--until", format_instant(until)


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(600, SINCE, UNTIL, seed=7, transcripts=False)


@pytest.mark.parametrize("bare", [False, True], ids=["same", "bare"])
def test_the_same_command_again_changes_nothing_and_says_so(
    bare: bool, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    options = () if bare else between(SINCE, UNTIL)
    assert command("export", tmp_path / "out", *between(SINCE, UNTIL), server=server).status == 0
    before, requests = snapshot(tmp_path / "out"), len(server.requests)
    done = command("export", tmp_path / "out", *options, server=server)
    assert done.status == 0
    assert done.out.startswith("✔ complete  600 conversations")
    assert "  this run  nothing to do: all of it was there\n" in done.out
    done = command("export", tmp_path / "out", *options, "--json", server=server)
    assert json.loads(done.out)["requests"] == 0
    assert snapshot(tmp_path / "out") == before
    assert len(server.requests) == requests


def test_how_it_is_read_may_differ(rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving(rows)
    options = ("--direction", "inbound", "--exclude-fields", "summary", *between(SINCE, UNTIL))
    assert command("export", tmp_path / "out", *options, server=server).status == 0
    before = snapshot(tmp_path / "out")
    faster = ("--concurrency", "2", "--page-size", "11", "--max-rps", "50", "--part-size", "1MB")
    assert command("export", tmp_path / "out", *options, *faster, server=server).status == 0
    assert command("export", tmp_path / "out", *faster, server=server).status == 0
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize(("since", "until"), [(SINCE, LATER), (MIDDLE, UNTIL), (SINCE, UNTIL)])
def test_a_wider_range_reads_only_what_is_missing(
    since: Instant, until: Instant, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    assert command("export", tmp_path / "out", *between(MIDDLE, LATER), server=server).status == 0
    before = snapshot(tmp_path / "out")
    parts = {path for path in before if path.endswith(".parquet")}
    first = len(server.requests)
    assert command("export", tmp_path / "out", *between(since, until), server=server).status == 0

    exported = ExportDirectory(tmp_path / "out")
    exported.check(records(rows, since=since, until=until))
    after = snapshot(tmp_path / "out")
    assert {path: after[path] for path in parts} == {path: before[path] for path in parts}
    asked = [seen.query for seen in server.requests[first:] if "fields" not in seen.query]
    for query in asked:
        after_, before_ = parse_timestamp(query["created_after"]), parse_timestamp(query["created_before"])
        # What a zone may shift is spared above, and a few seconds because a bound may be cut; below it a window's
        # length, for one more row.
        is_below = before_ < MIDDLE + MOST_ZONE_SHIFT + 3 * SECOND and after_ >= since - (MIDDLE - since)
        assert is_below or after_ >= LATER - max(SECOND, until - LATER)
    assert 0 < len(asked) < len(server.requests[first:]) < 20


def test_a_range_apart_is_joined_to_what_is_there(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    assert command("export", tmp_path / "out", *between(SINCE, SINCE + DAY), server=server).status == 0
    assert command("export", tmp_path / "out", *between(UNTIL - DAY, UNTIL), server=server).status == 0
    ExportDirectory(tmp_path / "out").check(records(rows))


def test_a_narrower_range_is_there_already(rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving(rows)
    assert command("export", tmp_path / "out", *between(SINCE, UNTIL), server=server).status == 0
    before = snapshot(tmp_path / "out")
    assert command("export", tmp_path / "out", *between(MIDDLE, LATER), server=server).status == 0
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("--direction", "outbound"), "filters: direction=inbound stored, direction=outbound asked for"),
        (("--channel", "text"), "filters: direction=inbound stored, channel=text asked for"),
        (("--direction", "inbound", "--fields", "summary"), "fields: all stored, "),
        (("--exclude-fields", "summary"), "fields: all stored, "),
        (("--partition-by", "month"), "partitions: day stored, month asked for"),
    ],
)
def test_another_request_is_refused_with_the_difference(
    other: tuple[str, ...], said: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    options = between(SINCE, UNTIL)
    assert command("export", tmp_path / "out", *options, "--direction", "inbound", server=server).status == 0
    before, requests = snapshot(tmp_path / "out"), len(server.requests)
    done = command("export", tmp_path / "out", *options, *other, server=server)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert str(tmp_path / "out") in done.err
    assert done.err.count("\n") <= 2
    assert snapshot(tmp_path / "out") == before
    assert len(server.requests) == requests


class TestWithoutSince:
    def test_rows_years_apart_down_to_the_oldest(self, serving: Serving, command: Command, tmp_path: Path) -> None:
        instants = [
            parse_timestamp(text) for text in ("1999-12-31T23:59:59.5", "2013-07-01", "2019-02-28", "2023-05-05")
        ]
        rows = make_conversations(300, SINCE, UNTIL, seed=8, transcripts=False)
        rows += [conversation(at, at, f"old-{at}") for at in instants]
        server = serving(rows)
        done = command("export", tmp_path / "out", "--until", format_instant(UNTIL), server=server)
        assert done.status == 0, done.err
        exported = ExportDirectory(tmp_path / "out")
        exported.check(records(rows))
        assert exported.manifest["range"] == {"start": None, "end": format_instant(UNTIL)}
        before = snapshot(tmp_path / "out")
        assert command("export", tmp_path / "out", server=server).status == 0
        assert snapshot(tmp_path / "out") == before

    def test_nothing_at_all(self, serving: Serving, command: Command, tmp_path: Path) -> None:
        done = command("export", tmp_path / "out", "--until", format_instant(UNTIL), server=serving([]))
        assert done.status == 0, done.err
        ExportDirectory(tmp_path / "out").check({})


#: The server's clock differs from that of this machine.
TRUST = ("--trust-clock", "server")


class TestWithoutUntil:
    """Tests that the end is the server's clock less the lag, fixed at the first run."""

    def test_what_becomes_visible_late_is_waited_for(self, serving: Serving, command: Command, tmp_path: Path) -> None:
        now = UNTIL + 30 * SECOND
        rows = make_conversations(200, UNTIL - 300 * SECOND, now, seed=9, transcripts=False)
        server = serving(rows, Behaviour(visible_delay=45.0), now=now)
        done = command(
            "export", tmp_path / "out", "--since", format_instant(SINCE), "--lag", "60", *TRUST, server=server
        )
        assert done.status == 0, done.err
        exported = ExportDirectory(tmp_path / "out")
        # The server's clock is read to the second, and may have moved on meanwhile.
        (start, end), *others = exported.coverage
        assert (start, others) == (SINCE, [])
        assert now - 70 * SECOND < end <= now - 60 * SECOND
        exported.check(records(rows, until=end))

    def test_the_end_stays_and_a_later_one_widens(self, serving: Serving, command: Command, tmp_path: Path) -> None:
        rows = make_conversations(200, SINCE, UNTIL, seed=10, transcripts=False)
        server = serving(rows, now=MIDDLE)
        since = ("--since", format_instant(SINCE), *TRUST)
        assert command("export", tmp_path / "out", *since, server=server).status == 0
        before = snapshot(tmp_path / "out")
        later = serving(rows, now=UNTIL)
        assert command("export", tmp_path / "out", *since, server=later).status == 0
        assert snapshot(tmp_path / "out") == before
        assert command("export", tmp_path / "out", *since, "--until", format_instant(LATER), server=later).status == 0
        ExportDirectory(tmp_path / "out").check(records(rows, until=LATER))

    def test_an_end_in_the_future_is_now(self, serving: Serving, command: Command, tmp_path: Path) -> None:
        rows = make_conversations(200, SINCE, UNTIL, seed=11, transcripts=False)
        server = serving(rows, now=MIDDLE)
        assert command("export", tmp_path / "out", *between(SINCE, UNTIL), *TRUST, server=server).status == 0
        ((start, end),) = ExportDirectory(tmp_path / "out").coverage
        assert start == SINCE
        assert end <= MIDDLE - 60 * SECOND
        ExportDirectory(tmp_path / "out").check(records(rows, until=end))


class TestStatus:
    def test_of_what_is_complete(self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
        assert command("export", tmp_path / "out", *between(SINCE, UNTIL), server=serving(rows)).status == 0
        before = snapshot(tmp_path / "out")
        assert "complete: 600 conversations" in command("status", tmp_path / "out", token=None).out
        told = json.loads(command("status", tmp_path / "out", "--json", token=None).out)
        assert (told["state"], told["rows"], told["covered_share"]) == ("complete", 600, 1.0)
        assert (told["gaps"], told["holder"]) == ([], None)
        assert snapshot(tmp_path / "out") == before

    def test_of_what_is_incomplete(self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
        server = serving(rows, Behaviour(revoked_after=20))
        options = ("--page-size", "20", "--concurrency", "2")
        assert command("export", tmp_path / "out", *between(SINCE, UNTIL), *options, server=server).status == 4
        exported = ExportDirectory(tmp_path / "out")
        covered = sum(end - start for start, end in exported.coverage)
        done: CommandResult = command("status", tmp_path / "out", token=None)
        assert done.status == 0
        assert f"incomplete: {exported.manifest['totals']['rows']} conversations" in done.out
        assert f", {int(100 * covered / (UNTIL - SINCE))} % of the range from " in done.out
        assert "locked" not in done.out
        told = json.loads(command("status", tmp_path / "out", "--json", token=None).out)
        gaps = [parse_interval(gap) for gap in told["gaps"]]
        assert sum(end - start for start, end in gaps) == UNTIL - SINCE - covered > 0

    def test_of_nothing(self, command: Command, tmp_path: Path) -> None:
        done = command("status", tmp_path / "nowhere", token=None)
        assert (done.status, done.out) == (2, "")
        assert (
            done.err
            == f"exporter: {tmp_path / 'nowhere'}: no export here; check the path, or run exporter export first\n"
        )
        assert not (tmp_path / "nowhere").exists()
