"""What is older than an export keeps it goes, and never comes back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.report import describe_synced
from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR, Instant
from exporter.errors import UsageError
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.expire import ExpireResult, expire
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.verify import verify
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.model import CONVERSATIONS, TURNS
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Row, Sandbox, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.records import conversation

NOW: Instant = wall_clock() // DAY * DAY + 12 * HOUR - 2 * DAY
TABLES = (CONVERSATIONS, TURNS)


def rows_of(days: int = 10, each: int = 4) -> list[Row]:
    """Returns rows of the last days, from midnight on, each with a transcript and a summary."""
    spoken = {"items": [{"type": "message", "role": "user", "content": ["hello"]}]}
    return [
        conversation(
            created_at := NOW - day * DAY + number * HOUR - 12 * HOUR,
            created_at,
            f"c{day}-{number}",
            organization_id="org",
            summary=f"about {day}-{number}",
            conversation=spoken,
        )
        for day in range(days)
        for number in range(each)
    ]


def context_for(server: Sandbox) -> RunContext:
    return RunContext(RunSettings(base_url=server.url, concurrency=2, page_size=40), Credentials(TOKEN), Quiet())


class Place:
    """A destination and the source that it is exported from."""

    def __init__(self, root: Path, server: Sandbox) -> None:
        self.root, self.context = root, context_for(server)
        self.store = LocalStore(root)

    async def export(self, **asked: Any) -> Summary:
        return await export(self.root, Selection(**asked), self.context)

    async def sync(self, **asked: Any) -> SyncResult:
        return await sync(self.root, Selection(**asked), self.context)

    async def expire(self, asked: dict[str, int] | None = None, *, now: Instant = NOW, **more: Any) -> ExpireResult:
        return await expire(self.root, now=now, asked=asked, settings=self.context.settings, observer=Quiet(), **more)

    async def state(self) -> State:
        return await load_state(self.store)

    async def floor(self, what: str = CONVERSATIONS) -> Instant:
        return (await self.state()).privacy.floors[what]

    async def rows(self, table: str = CONVERSATIONS) -> list[dict[str, Any]]:
        """Returns all rows of a table, from old to new."""
        import pyarrow.parquet as pq

        files = sorted((await self.state()).files.values(), key=lambda file: file.window)
        tables = [pq.read_table(self.root / file.path, partitioning=None) for file in files if file.table == table]
        return [row for table_ in tables for row in reversed(table_.to_pylist())]

    async def ids(self, table: str = CONVERSATIONS) -> list[str]:
        column = "id" if table == CONVERSATIONS else "conversation_id"
        return sorted({row[column] for row in await self.rows(table)})

    async def is_sound(self) -> bool:
        found = await verify(self.root, now=NOW)
        assert not found.problems
        return found.sound

    def files(self) -> dict[str, bytes]:
        """Returns all files except the lock and the journal."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.name not in ("lock", "runs.jsonl")
        }


def newer(rows: Sequence[Row], floor: Instant) -> list[str]:
    return sorted(str(row.fields["id"]) for row in rows if row.created_at >= floor)


@pytest.mark.anyio
async def test_conversations_below_the_floor_go_with_their_turns(tmp_path: Path) -> None:
    rows = rows_of()
    async with serve(rows) as server:
        place = Place(tmp_path / "out", server)
        await place.export(tables=TABLES)
        found = await place.expire({"conversations": 5 * DAY // 1_000_000}, now=NOW + DAY - 10 * HOUR)
        assert found.conversations == len(rows) - len(await place.ids())
        floor = await place.floor()
        assert await place.ids() == await place.ids(TURNS) == newer(rows, floor)
        assert (await place.state()).range.start == floor  # type: ignore[union-attr]
        assert await place.is_sound()
        assert (found.rewritten, found.deleted) == (1, 10)
        # What has gone stays gone.
        assert (await place.sync()).summary.exit_status == 0
        floor = await place.floor()
        assert await place.ids() == newer(rows, floor)
        assert (await audit(place.root, Selection(), place.context, now=NOW, repair=True)).same
        assert await place.ids() == newer(rows, floor)


@pytest.mark.anyio
async def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    async with serve(rows_of()) as server:
        place = Place(tmp_path / "out", server)
        await place.export(tables=TABLES)
        ages = {"conversations": 5 * 86_400, "conversation": 3 * 86_400, "summary": 2 * 86_400}
        first = await place.expire(ages)
        assert first.changed
        assert first.values == {"conversation": 8, "summary": 12}
        before = place.files()
        second = await place.expire(now=NOW + HOUR // 60)
        assert not second.changed
        assert place.files() == before


@pytest.mark.anyio
async def test_a_value_below_its_floor_is_null_and_is_never_brought_back(tmp_path: Path) -> None:
    rows = rows_of()
    async with serve(rows) as server:
        place = Place(tmp_path / "out", server)
        await place.export(tables=TABLES)
        await place.expire({"conversation": 3 * 86_400})

        async def is_cut() -> bool:
            kept = newer(rows, await place.floor("conversation"))
            there = {row["id"]: row["conversation"] for row in await place.rows()}
            assert there.keys() == {row.fields["id"] for row in rows}
            assert sorted(name for name, text in there.items() if text is not None) == kept
            assert await place.ids(TURNS) == kept
            return await place.is_sound()

        assert await is_cut()
        # Each row changes at the source, and all are read again.
        for row in list(rows):
            server.delete(str(row.fields["id"]))
            server.insert(Row(row.created_at, wall_clock(), {**row.fields, "summary": "changed"}))
        assert (await place.sync()).updated == len(rows)
        assert await is_cut()
        assert all(row["summary"] == "changed" for row in await place.rows())
        assert (await audit(place.root, Selection(), place.context, now=NOW, repair=True)).same
        await compact(place.root, target_bytes=1 << 20, memory_bytes=1 << 29, observer=Quiet())
        assert await is_cut()


@pytest.mark.anyio
async def test_a_night_rewrites_one_part(tmp_path: Path) -> None:
    async with serve(rows_of()) as server:
        place = Place(tmp_path / "out", server)
        await place.export(tables=TABLES)
        await place.expire({"conversations": 5 * 86_400}, now=NOW - 9 * HOUR)
        found = await place.expire(now=NOW - 9 * HOUR + DAY)
        assert (found.conversations, found.rewritten, found.deleted) == (4, 1, 2)


@pytest.mark.anyio
async def test_what_has_expired_is_not_read_by_a_first_run(tmp_path: Path) -> None:
    rows = rows_of()
    async with serve(rows) as server:
        place = Place(tmp_path / "out", server)
        await place.export(tables=TABLES, retention={"conversations": 5 * 86_400, "conversation": 2 * 86_400})
        state = await place.state()
        floors = state.privacy.floors
        assert state.privacy.retention == {"conversations": 5 * 86_400, "conversation": 2 * 86_400}
        assert await place.ids() == newer(rows, floors["conversations"])
        assert await place.ids(TURNS) == newer(rows, floors["conversation"])
        assert await place.is_sound()
        # The same command again changes nothing.
        before = state.number
        summary = await place.export(tables=TABLES, retention=state.privacy.retention)
        assert (summary.changed, (await place.state()).number) == (False, before)


@pytest.mark.anyio
async def test_an_age_that_nothing_has_reached_takes_nothing_out(tmp_path: Path) -> None:
    async with serve(rows_of()) as server:
        place = Place(tmp_path / "out", server)
        await place.export(tables=TABLES)
        before = await place.state()
        assert (await place.expire({"conversations": 400 * 86_400, "summary": 300 * 86_400})).changed
        after = await place.state()
        assert (after.coverage, after.range, after.privacy.floors) == (before.coverage, before.range, {})
        assert after.files == before.files
        assert not (await place.expire()).changed


@pytest.mark.anyio
async def test_the_command_that_began_an_export_goes_on_after_its_start_has_expired(tmp_path: Path) -> None:
    async with serve(rows_of()) as server:
        place = Place(tmp_path / "out", server)
        await place.export(since=NOW - 9 * DAY, retention={CONVERSATIONS: 5 * 86_400})
        assert await place.floor() > NOW - 9 * DAY
        synced = await place.sync(since=NOW - 9 * DAY)
        assert (synced.summary.state, synced.removed) == ("complete", 0)
        with pytest.raises(UsageError, match=r"expired: rows before .* are not kept"):
            await place.sync(since=NOW - 10 * DAY)


@pytest.mark.anyio
async def test_an_age_that_all_conversations_have_reached_is_refused(tmp_path: Path) -> None:
    async with serve(rows_of()) as server:
        place = Place(tmp_path / "out", server)
        await place.export()
        with pytest.raises(UsageError, match="all would go"):
            await place.expire({CONVERSATIONS: 3600}, now=NOW + DAY)
        with pytest.raises(UsageError, match="all would go"):
            await place.sync(retention={CONVERSATIONS: 3600})
        assert len(await place.rows()) == len(rows_of())


@pytest.mark.anyio
async def test_an_age_leaves_those_of_other_names_as_they_are(tmp_path: Path) -> None:
    async with serve(rows_of()) as server:
        place = Place(tmp_path / "out", server)
        await place.export(retention={CONVERSATIONS: 20 * 86_400, "summary": 8 * 86_400})
        done = await place.expire({"conversation": 9 * 86_400})
        assert done.retention == {CONVERSATIONS: 20 * 86_400, "summary": 8 * 86_400, "conversation": 9 * 86_400}
        await place.sync(retention={"summary": 0})
        assert (await place.state()).privacy.retention == {CONVERSATIONS: 20 * 86_400, "conversation": 9 * 86_400}
        await place.sync(retention={})
        assert (await place.state()).privacy.retention == {}


@pytest.mark.anyio
async def test_a_run_that_cuts_a_part_and_adds_to_its_partition_tells_of_both(tmp_path: Path) -> None:
    rows = rows_of()
    old = [row for row in rows if row.created_at < NOW - 2 * DAY]
    async with serve(rows) as server:
        place = Place(tmp_path / "out", server)
        await place.export(partition_by="none", until=NOW - 2 * DAY)
        done = await place.sync(retention={"conversations": 6 * 86_400})
        floor = await place.floor()
        assert await place.ids() == newer(rows, floor)
        gone = len(old) - len(newer(old, floor))
        assert gone
        summary = done.summary
        assert (summary.expired_rows, summary.new_rows, done.inserted) == (gone, len(rows) - len(old), summary.new_rows)
        assert f"inserted, {gone} expired · " in "\n".join(describe_synced(done))
        assert await place.is_sound()
