"""An export settles on the right range, and ends as its errors say, wherever they come from."""

from pathlib import Path

import msgspec
import pyarrow.dataset as ds
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.contract import ALWAYS_FIELDS, BEGINNING, DAY, SECOND, Instant, to_datetime
from exporter.coverage import Interval
from exporter.errors import AccessError, DestinationError, SourceError, UsageError
from exporter.jobs.export import export
from exporter.jobs.status import status
from exporter.jobs.summary import Summary
from exporter.layout import MANIFEST
from exporter.log.state import State
from exporter.progress import Quiet, Snapshot
from exporter.run.context import RunContext
from exporter.run.reconcile import asks_for_more, known_end, settle_range, settle_request
from exporter.sandbox import TOKEN, Behaviour, Sandbox, make_conversations, serve
from exporter.sandbox.clock import system_clock
from exporter.settings import Credentials, PartitionBy, Request, RunSettings, Selection
from tests.toolkit.instants import coverage_of

pytestmark = pytest.mark.usefixtures("hasty")

T0 = 1_770_000_000 * SECOND
LATEST = 1_000

instants = st.integers(1, 1_200)
bounds = st.one_of(st.none(), instants)


def settle(stored: Interval | None, asked: Selection, latest: Instant) -> Interval | None:
    """Returns the range, or None if there is nothing to export."""
    try:
        return settle_range(State(range=stored), asked, latest)
    except UsageError:
        return None


@given(bounds, bounds)
def test_a_new_export_has_the_range_asked_for_up_to_the_servers_clock(
    since: Instant | None, until: Instant | None
) -> None:
    start = BEGINNING if since is None else since
    end = LATEST if until is None else min(until, LATEST)
    expected = Interval(start, end) if start < end else None
    assert settle(None, Selection(since=since, until=until), LATEST) == expected


@given(bounds, bounds, st.integers(0, 500))
def test_the_same_command_again_asks_for_the_same_range(
    since: Instant | None, until: Instant | None, later: int
) -> None:
    asked = Selection(since=since, until=until)
    stored = settle(None, asked, LATEST)
    assume(stored is not None)
    assert stored is not None
    again = settle(stored, asked, LATEST + later)
    if until is None or until <= LATEST:
        assert again == stored
        assert not asks_for_more(stored, asked)
    else:
        # The future was asked for: what has happened of it by now is read.
        assert again == Interval(stored.start, min(until, LATEST + later))
        assert asks_for_more(stored, asked)


@given(instants, instants, bounds, bounds)
def test_a_range_only_ever_grows(one: Instant, other: Instant, since: Instant | None, until: Instant | None) -> None:
    assume(one != other)
    stored = Interval(min(one, other), max(one, other))
    asked = Selection(since=since, until=until)
    settled = settle(stored, asked, LATEST)
    if settled is None:
        return
    assert settled.start <= stored.start
    assert settled.end >= stored.end
    if since is not None:
        assert settled.start == min(since, stored.start)
    if until is not None:
        assert settled.end == max(min(until, LATEST), stored.end)
    if settled != stored:
        assert asks_for_more(stored, asked)


@given(st.none() | st.tuples(instants, instants), bounds, bounds)
def test_where_a_range_is_known_to_end_without_a_clock(
    ends: tuple[Instant, Instant] | None, since: Instant | None, until: Instant | None
) -> None:
    stored = None if ends is None or ends[0] == ends[1] else Interval(min(ends), max(ends))
    asked = Selection(since=since, until=until)
    settled = settle(stored, asked, LATEST)
    if settled is None:
        return
    end = known_end(State(range=stored), asked)
    if end is None:
        assert settled.end == LATEST
    else:
        assert settled.end == end or (end > LATEST and settled.end < end)


@given(bounds, bounds)
def test_a_bare_command_or_one_within_asks_for_no_more(since: Instant | None, until: Instant | None) -> None:
    stored = Interval(1, LATEST)
    asked = Selection(since=since, until=until)
    assert asks_for_more(stored, asked) == (
        (until is not None and until > LATEST) or (until is None and since is not None and since >= LATEST)
    )


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        (Selection(filters={"status": "failed"}), "filters: channel=email stored, status=failed asked for"),
        (Selection(filters={}), "filters: channel=email stored, none asked for"),
        (Selection(fields=("id",)), "fields: all stored, id asked for"),
        (Selection(partition_by="hour"), "partitions: day stored, hour asked for"),
    ],
)
def test_another_request_is_refused_with_the_difference(asked: Selection, difference: str) -> None:
    stored = State(request=Request(filters={"channel": "email"}))
    with pytest.raises(DestinationError) as raised:
        settle_request(stored, asked, Path("there"))
    assert difference in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize("partition_by", ["day", "hour", "month", "none"])
def test_what_is_left_out_is_as_stored(partition_by: PartitionBy) -> None:
    stored = Request(filters={"channel": "email"}, fields=("id", "created_at"), partition_by=partition_by)
    assert settle_request(State(request=stored), Selection(), Path("there")) == stored
    assert settle_request(State(), Selection(partition_by=partition_by), Path("new")) == Request(
        partition_by=partition_by
    )


async def run(server: Sandbox, destination: Path, asked: Selection) -> Summary:
    settings = RunSettings(base_url=server.url, concurrency=3, page_size=40)
    return await export(destination, asked, RunContext(settings, Credentials(TOKEN), Quiet()))


def ids_at(destination: Path) -> list[str]:
    table = ds.dataset(destination / "conversations", format="parquet").to_table(columns=["id"])
    return sorted(table.column("id").to_pylist())


@pytest.mark.anyio
@pytest.mark.parametrize("requests", [0, 1, 2, 3, 4, 7, 12, 20, 27])
async def test_a_token_revoked_at_any_request_is_told_as_such_and_the_next_run_goes_on(
    tmp_path: Path, requests: int
) -> None:
    """This holds also while several questions at once look for the beginning of the data."""
    rows = make_conversations(300, T0 - 20 * DAY, T0, transcripts=False)
    destination = tmp_path / "export"
    async with serve(rows, Behaviour(revoked_after=requests)) as server:
        with pytest.raises(AccessError):
            await run(server, destination, Selection(until=T0))
        # The answer to the first request must be known before anything is written.
        assert destination.exists() == (requests > 0)
        if requests > 0:
            found = await status(destination)
            assert (found.state, found.holder) == ("incomplete", None)
        server.behaviour = Behaviour()
        summary = await run(server, destination, Selection(until=T0))
    assert (summary.state, summary.rows, summary.resumed) == ("complete", 300, requests > 0)
    assert ids_at(destination) == sorted(str(row.facts()["id"]) for row in rows)


@pytest.mark.anyio
async def test_status_says_how_far_it_is(tmp_path: Path) -> None:
    rows = make_conversations(300, T0 - 20 * DAY, T0, transcripts=False)
    destination = tmp_path / "export"
    asked = Selection(since=T0 - 20 * DAY, until=T0)
    with pytest.raises(DestinationError, match="no export"):
        await status(destination)
    async with serve(rows, Behaviour(revoked_after=12)) as server:
        with pytest.raises(SourceError):
            await run(server, destination, asked)
        found = await status(destination)
        assert found.covered_share is not None
        assert 0 < found.covered_share < 1
        assert 0 < found.rows < 300
        assert (found.runs, len(found.gaps) > 0) == (1, True)
        left = coverage_of(found.gaps).length
        assert left / (20 * DAY) == pytest.approx(1 - found.covered_share)
        server.behaviour = Behaviour()
        summary = await run(server, destination, asked)
    found = await status(destination)
    assert (found.state, found.covered_share, found.gaps, found.runs) == ("complete", 1.0, (), 2)
    assert (found.rows, found.files, found.bytes) == (300, summary.files, summary.bytes)
    assert (found.range_start, found.range_end) == (to_datetime(T0 - 20 * DAY), to_datetime(T0))


@pytest.mark.anyio
async def test_the_same_again_sends_nothing(tmp_path: Path) -> None:
    rows = make_conversations(50, T0 - 2 * DAY, T0, transcripts=False)
    async with serve(rows) as server:
        await run(server, tmp_path / "export", Selection(until=T0))
        sent = len(server.requests)
        summary = await run(server, tmp_path / "export", Selection(until=T0))
        assert len(server.requests) == sent
    assert (summary.changed, summary.resumed, summary.requests, summary.rows) == (False, True, 0, 50)


@pytest.mark.anyio
async def test_what_it_holds_by_request_and_an_end_that_lies_ahead_are_summed_up(tmp_path: Path) -> None:
    rows = make_conversations(50, T0 - 2 * DAY, T0, transcripts=False)
    ahead = 4_000_000_000 * SECOND
    async with serve(rows) as server:
        nothing = await run(server, tmp_path / "none", Selection(until=ahead, filters={"agent_id": "nosuch"}))
        some = await run(server, tmp_path / "some", Selection(until=T0, fields=("organization_id", *ALWAYS_FIELDS)))
        now = await run(server, tmp_path / "now", Selection(until=system_clock()))
        unknown = await run(server, tmp_path / "bare", Selection(until=T0, fields=ALWAYS_FIELDS))
    assert (nothing.end_ahead, nothing.matches_nothing, nothing.exit_status) == (to_datetime(ahead), True, 0)
    assert nothing.request == Request(filters={"agent_id": "nosuch"})
    assert (some.end_ahead, some.matches_nothing, some.organization) == (None, False, "org_sandbox")
    # The first question names it, whatever the fields are.
    assert (unknown.organization, now.end_ahead) == ("org_sandbox", None)
    found = await status(tmp_path / "some")
    assert (found.organization, found.request) == ("org_sandbox", some.request)


class Watching(Quiet):
    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def progress(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


@pytest.mark.anyio
@pytest.mark.parametrize("since", [T0 - 30 * DAY, None])
async def test_a_resumed_run_tells_of_the_whole_range_and_of_what_was_stored(
    since: Instant | None, tmp_path: Path
) -> None:
    asked = Selection(since=since, until=T0)
    async with serve(make_conversations(3000, T0 - 30 * DAY, T0, seed=5, density="flat")) as server:
        settings = RunSettings(base_url=server.url, page_size=50, concurrency=2)

        async def run() -> tuple[Summary | None, list[Snapshot]]:
            observer = Watching()
            try:
                return await export(
                    tmp_path, asked, RunContext(settings, Credentials(TOKEN), observer)
                ), observer.snapshots
            except AccessError:
                return None, observer.snapshots

        server.behaviour = Behaviour(revoked_after=40)
        stopped, seen = await run()
        assert stopped is None
        found = await status(tmp_path)
        assert (seen[0].stored_rows, 0.2 < seen[-1].share < 0.9) == (0, True)
        # What was read in vain, because it could not be committed, is on the screen alone.
        assert found.covered_share == pytest.approx(seen[-1].share, abs=0.05)
        assert msgspec.json.decode((tmp_path / MANIFEST).read_bytes())["covered_share"] == found.covered_share
        server.behaviour = Behaviour()
        done, again = await run()
    assert done is not None
    assert {snapshot.stored_rows for snapshot in again} == {found.rows}
    # Rates, and what is left, are measured from the first one.
    assert again[0].share == pytest.approx(found.covered_share, abs=0.02)
    pages = [snapshot for snapshot in again if snapshot.rows]
    # The first page was read before this snapshot.
    assert pages[0].share == pytest.approx(found.rows / 3000, abs=0.08)
    assert [snapshot.share for snapshot in pages] == sorted(snapshot.share for snapshot in pages)
    assert (pages[-1].share, pages[-1].rows) == (1.0, 3000 - found.rows)
