"""A recording that has expired goes with its audio, and is never fetched again."""

from pathlib import Path
from typing import Any

import pytest

from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR
from exporter.jobs.audit import audit
from exporter.jobs.expire import ExpireResult, expire
from exporter.jobs.export import export
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.log.commits import load_state
from exporter.progress import Quiet
from exporter.sandbox import Row
from exporter.settings import Selection
from exporter.store.local.store import LocalStore
from tests.jobs.test_recordings import World, world
from tests.toolkit.recordings import call

pytestmark = pytest.mark.anyio

ROWS = [call(number, age=DAY + number * 6 * HOUR) for number in range(24)]
AGES = {"recordings": 3 * 86_400}


async def young(source: World, what: str = "recordings") -> list[Row]:
    """Returns the rows above the floor."""
    floor = (await load_state(LocalStore(source.root))).privacy.floors[what]
    rows = [row for row in ROWS if row.created_at >= floor]
    assert 0 < len(rows) < len(ROWS)
    return rows


async def let_expire(source: World, ages: dict[str, int] | None = None) -> ExpireResult:
    settings = source.context().settings
    return await expire(source.root, now=wall_clock(), asked=ages, settings=settings, observer=Quiet())


async def fetched(source: World) -> int:
    """Returns how many files were asked for since the last call."""
    number = len(source.media.requests)
    source.media.requests.clear()
    return number


async def is_sound(source: World, **options: Any) -> bool:
    return not (await verify(source.root, now=wall_clock(), media=True, **options)).problems


async def test_they_go_and_are_not_fetched_again(tmp_path: Path) -> None:
    async with world(tmp_path, ROWS) as source:
        await export(source.root, Selection(recordings=True), source.context())
        assert source.check(ROWS) == {"stored": 24}
        await fetched(source)
        found = await let_expire(source, AGES)
        kept = await young(source)
        assert (found.recordings, found.conversations) == (24 - len(kept), 0)
        assert source.check(kept) == {"stored": len(kept)}
        assert await is_sound(source)
        shown = (await status(source.root)).recordings
        assert shown is not None
        assert (shown.stored, shown.left) == (len(kept), 0)
        # Every conversation changes, and some of them have another recording.
        for row in ROWS:
            source.sandbox.update(str(row.fields["id"]), wall_clock(), summary="another")
        assert (await sync(source.root, Selection(), source.context())).updated == 24
        await source.keep()
        assert (await audit(source.root, Selection(), source.context(), now=wall_clock(), repair=True)).same
        # The API's clock has let some more expire.
        kept = await young(source)
        assert source.check(kept) == {"stored": len(kept)}
        assert await fetched(source) == 0
        assert not (await let_expire(source)).changed


async def test_they_are_not_fetched_by_a_first_run(tmp_path: Path) -> None:
    async with world(tmp_path, ROWS) as source:
        done = await export(source.root, Selection(recordings=True, retention=AGES), source.context())
        assert done.rows == 24
        kept = await young(source)
        assert source.check(kept) == {"stored": len(kept)}
        assert await fetched(source) == len(kept)
        assert await is_sound(source)


async def test_they_go_with_their_conversations(tmp_path: Path) -> None:
    async with world(tmp_path, ROWS) as source:
        await export(source.root, Selection(recordings=True), source.context())
        found = await let_expire(source, {"conversations": 4 * 86_400, "recording_details": 2 * 86_400})
        kept = await young(source, "conversations")
        assert found.recordings == found.conversations == 24 - len(kept)
        assert source.check(kept) == {"stored": len(kept)}
        assert await is_sound(source)
        assert (await sync(source.root, Selection(), source.context())).exit_status == 0
        kept = await young(source, "conversations")
        assert source.check(kept) == {"stored": len(kept)}
