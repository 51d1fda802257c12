"""Each command tells what it changes, in a file beside its commit; and every command treats such files as it should."""

from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from exporter.contract import DAY, HOUR, SECOND
from exporter.jobs.compact import compact
from exporter.jobs.erase import erase
from exporter.jobs.expire import expire
from exporter.jobs.protect import protect
from exporter.jobs.rekey import rekey
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.vacuum import VacuumResult, vacuum
from exporter.jobs.verify import VerifyResult, verify
from exporter.keys import Keys
from exporter.layout import CONVERSATIONS
from exporter.log.commits import CommitLog, load_commits, load_state
from exporter.log.state import State
from exporter.model import TABLES
from exporter.privacy import EncryptionMode
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory
from tests.jobs.cut_short import Cut
from tests.jobs.damage import flip, share_an_id
from tests.jobs.moving import Source, fill, moving_source, settings_for
from tests.toolkit.encrypted import data_key, encryption_with, keys_with, opened_with
from tests.toolkit.protected import POLICY
from tests.toolkit.told_changes import Table, Told, check_told, read_told, table_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

MEMORY = 1 << 28


class Place:
    """Runs commands on a destination, and compares after each what they tell with what has changed."""

    def __init__(self, root: Path, source: Source, keys: Keys | None = None) -> None:
        self.root, self.source = root, source
        self.store = LocalStore(root)
        self.keys = keys_with(None) if keys is None else keys
        self.table = Table(State(), {})
        self.open_parquet = opened_with(*map(data_key, ("d1", "d2")))

    @property
    def state(self) -> State:
        return self.table.state

    @property
    def files(self) -> set[str]:
        """Returns the files of changes that lie there."""
        return {f"_exporter/changes/{path.name}" for path in (self.root / "_exporter/changes").glob("*")}

    async def sync(self, **asked: Any) -> tuple[SyncResult, list[Told]]:
        self.source.now += HOUR
        context = RunContext(settings_for(self.source), Credentials(TOKEN), Quiet(), keys=self.keys)
        return await sync(self.root, Selection(**asked), context), await self.told()

    async def verify(self, **options: Any) -> VerifyResult:
        return await verify(self.root, now=self.source.now, keys=self.keys, **options)

    async def vacuum(self, *, spares_all: bool = False, **options: Any) -> VacuumResult:
        times = [told.at for told in self.state.feed.told.values()]
        before = min(times) if spares_all else max(times) + 1
        return await vacuum(self.root, before=before, now=max(times) + 1, keys=self.keys, **options)

    async def told(self) -> list[Told]:
        """Returns what the commits since the last call tell, after it has been compared."""
        before, state = self.table, await load_state(self.store)
        self.table = table_of(self.root, state, self.open_parquet)
        commits = (await load_commits(self.store))[before.state.number :]
        check_told(self.root, before, self.table, commits, self.open_parquet)
        files = [file for commit in commits for file in commit.change.changed if file.path in state.changes]
        assert self.files == state.changes.keys()
        assert all(file.key == state.privacy.key_name for file in state.changes.values())
        return read_told(self.root, files, self.open_parquet)


async def test_every_command_that_changes_rows_tells_which(tmp_path: Path) -> None:
    async with moving_source(3) as source:
        place = Place(tmp_path / "out", source)
        ids = fill(source)
        assert (await place.sync(tables=TABLES))[1] == []
        at = {name: row.created_at for name, row in source.rows.items()}
        source.update(ids[0], summary="new")
        source.update(ids[30], created_at=at[ids[30]] - DAY, summary="moved")
        late = source.insert(source.now - 2 * DAY)
        newest = source.insert(source.now)
        done, told = await place.sync()
        late_at, moved = source.rows[late].created_at, at[ids[30]] - DAY
        expected = {(ids[0], at[ids[0]], at[ids[0]]), (ids[30], at[ids[30]], moved), (late, None, late_at)}
        assert (set(told), len(told)) == (expected, 3)
        assert (done.updated, done.inserted) == (2, 2)
        assert newest in place.table.rows
        await compact(place.root, target_bytes=10**9, memory_bytes=MEMORY, observer=Quiet())
        assert await place.told() == []
        await erase(place.root, Wish(ids=[ids[1], ids[40]]), place.keys, Quiet(), now=source.now)
        assert sorted(await place.told()) == sorted((name, at[name], None) for name in (ids[1], ids[40]))
        oldest = sorted(rows for rows in place.table.rows.items() if min(rows[1])[0] < source.now - 2 * DAY)
        named = {"conversations": 2 * DAY // SECOND, "summary": DAY // SECOND}
        settings = settings_for(source, trust_clock="local")
        await expire(place.root, now=source.now, asked=named, settings=settings, observer=Quiet())
        told = await place.told()
        gone = {name for name, _, created_at in told if created_at is None}
        assert gone >= {name for name, _ in oldest}
        replaced = [row for row in told if row[0] not in gone]
        # Most have an empty summary, which goes as well.
        assert replaced
        assert all(was_at == created_at for _, was_at, created_at in replaced)
        assert (await place.verify()).exit_status == 0
        manifest = ExportDirectory(place.root)
        manifest.check_sound(kept=[erasure.certificate for erasure in place.state.privacy.erasures])
        assert manifest.manifest["changes"]["from_generation"] == 0
        assert manifest.manifest["changes"]["files"] == 3
        # What is old goes, and says so before.
        last = max(told.number for told in place.state.feed.told.values())
        assert (await place.vacuum(spares_all=True)).changes_files == 0
        planned, there = await place.vacuum(dry_run=True), place.files
        assert (planned.changes_files, planned.changes_from, place.files) == (3, last, there)
        assert planned.changes_bytes == sum((place.root / path).stat().st_size for path in there)
        assert await place.vacuum() == planned
        state = await load_state(place.store)
        assert (place.files, state.changes, state.feed_start) == (set(), {}, last)
        assert (await place.verify()).exit_status == 0


@pytest.mark.parametrize("mode", ["uniform", "columns"])
async def test_another_key_is_that_of_files_of_changes_as_well(mode: EncryptionMode, tmp_path: Path) -> None:
    async with moving_source(4) as source:
        place = Place(tmp_path / "out", source, keys_with(data_key("d1")))
        ids = fill(source)
        await place.sync(encryption=encryption_with(mode, data_key("d1")))
        source.update(ids[0], summary="new")
        _, told = await place.sync()
        ((path, file),) = place.state.changes.items()
        done = await rekey(place.root, new_key=data_key("d2"), keys=place.keys, memory_bytes=MEMORY, observer=Quiet())
        assert (done.changes_files, done.exit_status) == (1, 0)
        place.keys = keys_with(data_key("d2"))
        before = place.state.feed.told[path]
        assert await place.told() == told
        ((again, sealed),) = place.state.changes.items()
        assert (sealed.key, sealed.rows, sealed.in_place_of) == ("d2", file.rows, path)
        assert place.state.feed.told == {again: before}
        place.open_parquet = opened_with(data_key("d2"))
        assert read_told(place.root, [sealed], place.open_parquet) == told
        found = await place.verify()
        assert (found.exit_status, found.closed) == (0, 0)
        # Without a key, only the bytes are compared.
        assert (await verify(place.root, now=source.now)).closed == len(place.state.live)


async def test_a_damaged_file_of_changes_costs_no_row(tmp_path: Path) -> None:
    async with moving_source(5) as source:
        place = Place(tmp_path / "out", source)
        ids = fill(source)
        await place.sync()
        for name in ids[:2]:
            source.update(name, summary="new")
            await place.sync()
        told = {told.number: path for path, told in place.state.feed.told.items()}
        first, second = sorted(told)
        flip(place.root, told[first])
        found = await place.verify()
        assert [(problem.file, problem.what, problem.spoils_rows) for problem in found.problems] == [
            (told[first], "changes", False)
        ]
        assert (found.exit_status, found.drops) == (6, ())
        mended = await place.verify(repair=True)
        assert (mended.exit_status, mended.dropped, mended.uncovered) == (0, 0, ())
        await place.told()
        assert (place.state.feed_start, place.files) == (first, {told[second]})
        (place.root / told[second]).unlink()
        assert [problem.what for problem in (await place.verify(repair=True)).problems] == ["changes"]
        await place.told()
        assert (place.state.feed_start, (await place.verify()).exit_status) == (second, 0)


async def test_a_repair_tells_what_goes_if_it_can_be_read(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        place = Place(tmp_path / "out", source)
        fill(source, conversation={"items": [{"type": "message", "role": "user", "content": ["hello"]}]})
        await place.sync(tables=TABLES)
        turns = next(file for file in place.state.files.values() if file.table != CONVERSATIONS)
        flip(place.root, turns.path)
        await place.verify(repair=True)
        told = await place.told()
        assert told
        assert {(created_at is None) for _, _, created_at in told} == {True}
        assert place.state.feed_start == 0
        # They come back as rows of what was not covered.
        assert (await place.sync())[1] == []
        part = place.state.conversations[0]
        flip(place.root, part.path)
        await place.verify(repair=True)
        assert await place.told() == []
        assert place.state.feed_start == place.state.number
        await place.sync()
        assert (await place.verify()).exit_status == 0


async def test_rows_that_were_there_twice_are_told_as_often(tmp_path: Path) -> None:
    async with moving_source(7) as source:
        place = Place(tmp_path / "out", source)
        fill(source)
        await place.sync()
        one, other = (file.path for file in place.state.conversations[:2])
        await to_thread.run_sync(share_an_id, place.root, one, other)
        place.table = table_of(place.root, await load_state(place.store))
        await place.verify(repair=True)
        told = await place.told()
        assert {name for name, _, _ in told} and place.state.feed_start == 0
        assert len({name for name, _, _ in told}) == len(told) - 1


async def test_a_run_that_is_killed_before_its_commit_leaves_what_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with moving_source(8) as source:
        place = Place(tmp_path / "out", source)
        ids = fill(source)
        await place.sync()
        source.update(ids[0], summary="new")
        cut, append = Cut(10**9, kills=True), CommitLog.append

        async def append_and_die(log: CommitLog, **entry: Any) -> State:
            if entry.get("kind") == "sync":
                cut._left = 1
            return await append(log, **entry)

        with monkeypatch.context() as patch:
            patch.setattr(CommitLog, "append", append_and_die)
            assert await cut.through(place.sync) is None
        (left,) = place.files
        state = await load_state(place.store)
        assert not state.changes
        assert {problem.what for problem in (await place.verify()).problems} == {"behind"}
        _, told = await place.sync()
        assert [name for name, _, _ in told] == [ids[0]]
        assert left not in place.files
        assert len(place.files) == 1


async def test_a_protection_is_a_break(tmp_path: Path) -> None:
    async with moving_source(9) as source:
        place = Place(tmp_path / "out", source)
        ids = fill(source, user_id="somebody")
        await place.sync()
        source.update(ids[0], summary="new")
        await place.sync()
        await protect(place.root, policy=POLICY, keys=place.keys, memory_bytes=MEMORY, observer=Quiet())
        assert await place.told() == []
        assert place.state.feed_start == place.state.number
        # What can no longer be told from is of no use, whatever its age.
        assert (await place.vacuum(spares_all=True)).changes_files == 1
