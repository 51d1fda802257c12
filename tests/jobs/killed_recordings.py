"""Kills what takes recordings away before its n-th step on the file system, for every STRIDE-th n.

    python killed_recordings.py WHAT EXPORT DIRECTORY STRIDE      prints, for each n, the copy of EXPORT that it was
                                                                  killed in; the last one was not killed

WHAT is `repair`, a repair by `exporter verify --media`; `move`, which lets the recordings of the oldest conversations
follow these: one out of the export, one to another partition; or `rekey`, which encrypts it all with `KEY`. Each is a
process of its own that kills itself with SIGKILL, so nothing can clean up behind it.
"""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from exporter.contract import DAY
from exporter.encode.tables import Tables
from exporter.jobs.rekey import rekey
from exporter.jobs.verify import verify
from exporter.keys import KEY_BYTES, Key, Keys
from exporter.layout import partition_text
from exporter.model import Change
from exporter.pipeline.committer import Committer
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_cascade import follow
from exporter.progress import Quiet
from exporter.run.claim import Claim, holding
from exporter.run.record import Run, recorded
from exporter.settings import Request, RunSettings
from exporter.store.local.store import LocalStore
from tests.jobs.made import NOW
from tests.store.local.crashing_run import copies_of, kill_at_each_step
from tests.toolkit.recorded import Done, ids_and_times

KEY: Final = Key("d1", bytes([1]) * KEY_BYTES)


async def repair(root: Path) -> None:
    await verify(root, now=NOW, repair=True, media=True)


async def move(root: Path) -> None:
    """Does with recordings what a sync does that finds one conversation gone, and another one ten days earlier."""
    store = LocalStore(root)

    async def work(run: Run) -> Done:
        async with holding(store, run) as claim:
            await _move(claim)
        return Done()

    await recorded(store, "sync", work)


async def _move(claim: Claim) -> None:
    store, log, state = claim.store, claim.log, claim.log.state
    tables = Tables.of(state.request or Request())
    await log.append(committed_at=NOW, kind="resume")
    committer = Committer(store, log, tables.schemas, Quiet(), lambda: 0.0)
    stage = PartStage.of(store, tables, claim.run, RunSettings(), lambda: 0.0)
    await committer.sweep()
    (gone, when), (moves, then), *_ = ids_and_times(Path(str(store.location)), state).items()
    touched = {partition_text(tables.place(time)[0]): set[str]() for time in (when, then)}
    for name, time in ((gone, when), (moves, then)):
        touched[partition_text(tables.place(time)[0])].add(name)
    followed = await follow(log.state, stage, touched, {moves: then - 10 * DAY})
    await committer.commit(Change(adds=tuple(followed.adds), removes=tuple(followed.removes)), kind="sync")
    await committer.sweep()


async def encrypt(root: Path) -> None:
    await rekey(root, new_key=KEY, keys=Keys(), memory_bytes=1 << 28, observer=Quiet())


WORK: Final[dict[str, Callable[[Path], Coroutine[Any, Any, None]]]] = {"repair": repair, "move": move, "rekey": encrypt}


def main(what: str, export: Path, directory: Path, stride: int) -> None:
    kill_at_each_step(copies_of(export, directory), WORK[what], stride=stride)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
