"""Tests a source that changes while it is read: what holds then, and that a later run knows where to look."""

import random
from pathlib import Path

import pytest

from exporter.clock import wall_clock
from exporter.contract import DAY, MINUTE, SECOND, Instant, parse_timestamp
from exporter.errors import AccessError
from exporter.jobs.export import export
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Sandbox, ServedRequest, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import conversation

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

UNTIL = parse_timestamp("2024-03-01")
SINCE = UNTIL - 2 * DAY
COUNT = 1500


class Mover:
    """Updates one row, deletes one, and inserts one into the middle of the range, at every third request."""

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        self.updated: dict[str, Instant] = {}
        self.deleted: set[str] = set()
        self.inserted: set[str] = set()
        self._sandbox = sandbox
        self._chance = random.Random(seed)
        self._left = [f"c{number}" for number in range(COUNT)]
        self._chance.shuffle(self._left)
        sandbox.on_request = self.move

    def move(self, seen: ServedRequest) -> None:
        if seen.number % 3:
            return
        now = wall_clock()
        self._sandbox.update(changed := self._left.pop(), now, status="failed", summary="changed")
        self.updated[changed] = now
        self._sandbox.delete(gone := self._left.pop())
        self.deleted.add(gone)
        created_at = SINCE + self._chance.randrange(UNTIL - SINCE)
        self._sandbox.insert(conversation(created_at, now, new := f"new{seen.number}"))
        self.inserted.add(new)


async def run(destination: Path, sandbox: Sandbox) -> str:
    settings = RunSettings(base_url=sandbox.url, page_size=40, concurrency=3)
    summary = await export(
        destination, Selection(since=SINCE, until=UNTIL), RunContext(settings, Credentials(sandbox.token), Quiet())
    )
    return summary.state


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("revoked_after", [None, 25])
async def test_rows_that_stay_are_there_and_what_moved_is_newer_than_updates_since(
    tmp_path: Path, seed: int, revoked_after: int | None
) -> None:
    rows = [
        conversation(SINCE + number * (UNTIL - SINCE) // COUNT, SINCE + number * MINUTE, f"c{number}")
        for number in range(COUNT)
    ]
    began = wall_clock()
    async with serve(rows, Behaviour(revoked_after=revoked_after)) as sandbox:
        mover = Mover(sandbox, seed)
        if revoked_after is not None:
            with pytest.raises(AccessError):
                await run(tmp_path, sandbox)
            sandbox.behaviour = Behaviour()
        assert await run(tmp_path, sandbox) == "complete"
    exported = ExportDirectory(tmp_path)
    exported.check_sound()
    found = exported.records()
    stayed = {f"c{number}" for number in range(COUNT)} - mover.deleted
    assert len(mover.updated) > 10
    # Every row that existed all along is exported once, as it was at some moment of the run: a row is never half old.
    assert stayed <= found.keys()
    assert found.keys() <= stayed | mover.deleted | mover.inserted
    for identity in stayed:
        versions = {("completed", None)} | ({("failed", "changed")} if identity in mover.updated else set())
        assert (found[identity]["status"], found[identity]["summary"]) in versions
    # Every row that changed meanwhile has a later `updated_at` than the manifest's `updates_since`, across resumes.
    updates_since = parse_timestamp(exported.manifest["updates_since"])
    assert began - 5 * SECOND <= updates_since <= min(mover.updated.values())


async def test_rows_that_become_visible_within_the_lag_are_read(tmp_path: Path) -> None:
    now = wall_clock()
    rows = [conversation(now - number * SECOND, now, f"c{number}") for number in range(1, 200)]
    async with serve(rows, Behaviour(visible_delay=30)) as sandbox:
        settings = RunSettings(base_url=sandbox.url, lag_seconds=60, page_size=50)
        await export(tmp_path, Selection(since=now - 5 * MINUTE), RunContext(settings, Credentials(TOKEN), Quiet()))
    exported = ExportDirectory(tmp_path)
    ((_, end),) = exported.coverage
    # The range ends before the first row that may still be hidden, and the manifest has that end.
    assert now - 70 * SECOND < end <= wall_clock() - 60 * SECOND
    assert exported.records().keys() == {f"c{number}" for number in range(1, 200) if now - number * SECOND < end}
