"""A change feed is the difference of two generations, whatever the commands between them were."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import to_thread

from exporter.contract import DAY, END_OF_TIME, HOUR, MINUTE, SECOND
from exporter.errors import (
    AccessError,
    ChangesGoneError,
    DamagedPartError,
    DestinationError,
    ProtectionError,
    StoreError,
    UsageError,
)
from exporter.jobs.changes import changes
from exporter.jobs.compact import compact
from exporter.jobs.expire import expire
from exporter.jobs.sync import sync
from exporter.jobs.vacuum import vacuum
from exporter.keys import DATA_VARIABLE, NO_KEYS, Keys
from exporter.log.commits import load_commits, load_state
from exporter.log.fold import fold
from exporter.log.state import State
from exporter.model import TABLES
from exporter.privacy import EncryptionMode
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from exporter.store.base import Store
from exporter.store.location import Location, parse_location
from exporter.store.open import open_store
from tests.jobs.moving import Source, fill, moving_source, settings_for
from tests.toolkit.clouds import S3
from tests.toolkit.encrypted import data_key, encryption_with, keys_with, opened_with, text_of
from tests.toolkit.feeds import Generations, feed_of
from tests.toolkit.recorded import state_of
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(size_of(1, 20)))
async def test_it_is_the_difference_of_two_generations(seed: int, tmp_path: Path) -> None:
    root = tmp_path / "out"
    generations = Generations(root)
    async with moving_source(seed) as source:
        fill(source)
        for number in range(5):
            source.now += 2 * MINUTE
            context = RunContext(settings_for(source, target_part_bytes=1), Credentials(TOKEN), Quiet())
            await sync(root, Selection(tables=TABLES, partition_by="month"), context, keep_generations=2)
            generations.note(state_of(root))
            await to_thread.run_sync(partial(generations.check_from_all, is_exact=True))
            if number == 3:
                before = state_of(root).number
                await compact(root, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
                feed = await to_thread.run_sync(feed_of, root, before)
                assert feed.to > before
                assert (feed.inserts, feed.updates, feed.deletes, [*feed]) == (0, 0, 0, [])
            for _ in range(12):
                source.move()
            source.now += DAY + HOUR * number
        numbers = [*generations.tables]
        for since, to in pairwise(numbers):
            await to_thread.run_sync(partial(generations.check, since, to, is_exact=True))


async def synced(root: Location, source: Source, **options: Any) -> int:
    """Returns the generation that a sync leaves."""
    source.now += 2 * MINUTE
    context = RunContext(settings_for(source), Credentials(TOKEN), Quiet(), keys=options.pop("keys", NO_KEYS))
    await sync(root, Selection(**options), context)
    async with open_store(root) as store:
        return (await load_state(store)).number


async def test_what_cannot_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, give = tmp_path / "out", changes
    with pytest.raises(DestinationError, match="no export here"):
        await give(root, 0)
    async with moving_source(1) as source:
        names, generations = fill(source), []
        for _ in range(3):
            generations.append(await synced(root, source))
            source.update(names[0], summary="new")
        first, second, third = generations
        for since, to, complaint in (
            (third + 1, None, f"--from-generation {third + 1}: the generations are 0 to {third}"),
            (-1, None, "--from-generation -1: the generations"),
            (0, third + 1, f"--to-generation {third + 1}: the generations are 1 to {third}"),
            (third, second, "is after --to-generation"),
        ):
            with pytest.raises(UsageError, match=complaint):
                await give(root, since, to=to)
        with pytest.raises(UsageError, match="The tables are conversations, turns"):
            await give(root, 0, table="recordings")
        with pytest.raises(UsageError, match="no table 'turns' here"):
            await give(root, 0, table="turns")
        with pytest.raises(ChangesGoneError, match="1 were replaced since, and are not kept"):
            await give(root, first, to=second)
        assert (await give(root, first)).updates == (await give(root, second)).updates == 1

        # Another command may replace a part after it was looked up, or before.
        feed = await give(root, first)
        fourth = await synced(root, source)
        with pytest.raises(StoreError, match="no longer there; another command may have replaced it"):
            list(feed)

        async def late(store: Store) -> State:
            monkeypatch.setattr("exporter.jobs.changes.load_state", load_state)
            return fold((await load_commits(store))[:-1])

        monkeypatch.setattr("exporter.jobs.changes.load_state", late)
        with pytest.raises(StoreError, match="changed the export while its changes were looked up"):
            await give(root, first)

        await vacuum(root, before=END_OF_TIME, now=source.now)
        with pytest.raises(ChangesGoneError, match=rf"since generation {first} is no longer known.*everything"):
            await give(root, first)
        assert (await give(root, fourth)).counts == {
            "from": fourth, "to": fourth + 1, "inserts": 0, "updates": 0, "deletes": 0
        }  # fmt: skip
        (root / state_of(root).conversations[-1].path).unlink()
        with pytest.raises(DamagedPartError):
            await give(root, 0)


@pytest.mark.usefixtures("hasty")
async def test_one_of_two_rows_that_expired_is_no_delete(tmp_path: Path) -> None:
    root, generations = tmp_path / "out", Generations(tmp_path / "out")
    async with moving_source(1) as source:
        moved = fill(source)[50]
        small = settings_for(source, target_part_bytes=1)
        asked, context = Selection(partition_by="day"), RunContext(small, Credentials(TOKEN), Quiet())
        await sync(root, asked, context)
        source.now += DAY
        was_at = source.rows[moved].created_at
        source.update(moved, created_at=source.now - HOUR)
        for hour in range(20):
            source.insert(source.now - hour * HOUR)
        # What an interrupted sync has read so far has it once more.
        allowed, copies, requests = source.sandbox.behaviour, 1, 0
        while copies < 2:
            requests += 1
            source.sandbox.behaviour = msgspec.structs.replace(allowed, revoked_after=requests)
            with pytest.raises(AccessError):
                await sync(root, asked, context)
            generations.note(state_of(root))
            since = state_of(root).number
            copies = len(generations.tables[since]["conversations"][moved])
        source.sandbox.behaviour = allowed
        age = {"conversations": (source.now - was_at - HOUR) // SECOND}
        settings = settings_for(source, trust_clock="local")
        await expire(root, now=source.now, asked=age, settings=settings, observer=Quiet())
        await sync(root, asked, context)
        generations.note(state_of(root))
        assert not state_of(root).unsettled
        await to_thread.run_sync(partial(generations.check, since, is_exact=False))


async def test_what_a_list_of_changes_says_is_checked(tmp_path: Path) -> None:
    root = tmp_path / "out"
    async with moving_source(5) as source:
        names = fill(source)
        since = await synced(root, source)
        for name in names[:20]:
            source.update(name, summary="new")
        await synced(root, source)
        (path,) = state_of(root).changes
        written = (root / path).read_bytes()
        # Where ids are, where Arrow's schema is, and where the footer is: all of them can be read somehow.
        for position in (*range(4, len(written), len(written) // 12), len(written) - 9):
            data = bytearray(written)
            data[position] ^= 1
            (root / path).write_bytes(data)
            with pytest.raises(DamagedPartError):
                await changes(root, since)


@pytest.mark.parametrize("mode", ["uniform", "columns"])
async def test_of_an_encrypted_export(mode: EncryptionMode, tmp_path: Path) -> None:
    root, key = tmp_path / "out", data_key("d1")
    encryption, keys = encryption_with(mode, key), keys_with(key)
    generations = Generations(root)
    async with moving_source(2) as source:
        fill(source)
        for _ in range(2):
            await synced(root, source, keys=keys, encryption=encryption)
            generations.note(state_of(root), opened_with(key))
            for _ in range(9):
                source.move()
        check = partial(generations.check_from_all, key=text_of(key), is_exact=True)
        await to_thread.run_sync(check)
        for wrong, complaint in (
            (Keys(), "the key d1 is needed, and is not here"),
            (Keys({DATA_VARIABLE: text_of(data_key("d2"))}), "not the key d1"),
        ):
            with pytest.raises(ProtectionError, match=complaint):
                await changes(root, 1, keys=wrong)


async def test_from_an_object_store(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("changes")
    url, counts = parse_location("s3://changes/some/out"), []
    async with moving_source(3) as source:
        fill(source)
        first = await synced(url, source, tables=TABLES)
        for _ in range(20):
            source.move()
        await synced(url, source)
        await synced(tmp_path / "out", source, tables=TABLES)
    for table in TABLES:
        feeds = [await changes(url, since, table=table) for since in (0, first)]
        here = await changes(tmp_path / "out", 0, table=table)
        whole = [row async for batch in feeds[0] for row in batch.to_pylist()]
        same = [row async for batch in here for row in batch.to_pylist()]
        own = ("_generation", "_committed_at")
        strip = [sorted(repr({k: v for k, v in row.items() if k not in own}) for row in rows) for rows in (whole, same)]
        assert strip[0] == strip[1]
        counts.append([feeds[1].inserts, feeds[1].updates, feeds[1].deletes])
    assert counts[0] == counts[1]
    assert counts[0][0] and counts[0][1]
