"""A run holds its destination before anything else, and leaves nothing of a destination that it has made in vain."""

from pathlib import Path

import anyio
import pytest

from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.errors import AccessError, DestinationLockedError
from exporter.log.commits import load_state
from exporter.run.claim import holding
from exporter.run.record import Run
from exporter.settings import Request
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio


async def fail_at(root: Path) -> None:
    with pytest.raises(AccessError):
        async with holding(LocalStore(root), Run("export")):
            raise AccessError("401")


async def test_a_run_that_begins_nothing_leaves_nothing(tmp_path: Path) -> None:
    await fail_at(tmp_path / "a" / "b" / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    await fail_at(tmp_path / "mine")
    await fail_at(tmp_path / "mine" / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert list((tmp_path / "mine").iterdir()) == []


async def test_a_run_that_begins_an_export_leaves_it(tmp_path: Path) -> None:
    with pytest.raises(AccessError):
        async with holding(LocalStore(tmp_path / "out"), Run("export")) as claim:
            await claim.log.append(committed_at=0, kind="begin", request=Request(), range=Interval(0, DAY))
            raise AccessError("401")
    assert (await load_state(LocalStore(tmp_path / "out"))).number == 1
    await fail_at(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "_exporter").iterdir()} == {
        "commits",
        "lock",
        "quarantine",
        "staging",
    }


async def test_what_a_killed_run_has_left_before_it_began_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "_exporter").mkdir()
    (tmp_path / "_exporter" / "lock").write_text("a run that was killed")
    await fail_at(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_of_many_runs_that_begin_nothing_one_at_a_time_holds_it(tmp_path: Path) -> None:
    """Each takes away the directories and the lock that the others are about to use."""
    held = 0
    holders: list[int] = []

    async def hold(number: int) -> None:
        nonlocal held
        for _ in range(10):
            store = LocalStore(tmp_path / "out")
            try:
                async with holding(store, Run("export")):
                    holders.append(number)
                    assert await store.create("_exporter/commits/other", b"")
                    await store.delete("_exporter/commits/other")
                    assert holders == [number]
                    holders.clear()
                    held += 1
            except DestinationLockedError:
                pass

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(hold, number)
    assert held >= 10
    # At worst, the directory stays because another run than the one that made it was the last.
    assert set(tmp_path.rglob("*")) <= {tmp_path / "out"}
