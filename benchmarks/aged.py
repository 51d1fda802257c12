"""Ages an export: gives a small one that was really made as many commits and parts as years of nights would.

Its log is written by the project's own types, and folds. The parts of its past have sizes, and no bytes: nothing may
read them.

    python -m benchmarks.aged DIR COMMITS PARTS
"""

import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import anyio
import msgspec
from msgspec.structs import replace

from exporter.contract import DAY, HOUR, to_datetime
from exporter.coverage import Interval
from exporter.encode.tables import Tables
from exporter.layout import COMMITS, CONVERSATIONS, RUNS, commit_path, part_path
from exporter.log.commits import load_commits, load_state
from exporter.log.journal import RunRecord
from exporter.log.publish import publish
from exporter.log.state import Commit, State
from exporter.model import Change, Counters, DataFile
from exporter.partitions import partition_of
from exporter.store.local.store import LocalStore

#: A part of this size is merged with no other.
PART_BYTES: Final = 20_000_000
#: The run of a night claims the export, and says what it has found.
_COMMITS_A_NIGHT: Final = 2


async def age(root: Path, commits: int, parts: int, part_bytes: int = PART_BYTES) -> State:
    """Puts about `commits` commits with `parts` parts before what the export at `root` has; returns its state."""
    store = LocalStore(root)
    aged = list(_aged(await load_commits(store), commits // _COMMITS_A_NIGHT, parts, part_bytes))
    for file in (root / COMMITS).iterdir():
        file.unlink()
    for commit in aged:
        (root / commit_path(commit.number)).write_bytes(msgspec.json.encode(commit) + b"\n")
        for part in commit.change.adds:
            _make_part(root / part.path, part.size_bytes)
    nights = [commit for commit in aged if commit.kind == "sync"]
    young = (root / RUNS).read_bytes()
    (root / RUNS).write_bytes(b"".join(msgspec.json.encode(_record(night)) + b"\n" for night in nights) + young)
    state = await load_state(store)
    assert state.request is not None
    await publish(store, state, schemas=Tables.of(state.request).schemas)
    return state


def _aged(young: list[Commit], nights: int, parts: int, part_bytes: int) -> Iterator[Commit]:
    """Yields the first of the `young` commits, with an older start; the commits of nights since then; and the rest."""
    first, *rest = young
    assert first.range is not None
    start = first.range.start - nights * DAY
    yield replace(first, range=Interval(start, first.range.end), committed_at=start)
    number = 1
    for night in range(nights):
        day = Interval(start + night * DAY, start + (night + 1) * DAY)
        claim = Commit(
            format_version=first.format_version,
            number=number + 1,
            export_id=first.export_id,
            author=replace(first.author, run=f"{night:012x}"),
            committed_at=day.end + HOUR,
            kind="resume",
        )
        count = parts * (night + 1) // nights - parts * night // nights
        change = Change(
            covers=(day,),
            refreshes=(Interval(start, day.start),) if night else (),
            adds=tuple(_part(part, f"{claim.author.run}-{place}", part_bytes) for place, part in _shares(day, count)),
            read_since=day.end + HOUR,
        )
        yield claim
        yield replace(
            claim, number=number + 2, kind="sync", change=change, counters=Counters(requests=5, pages=2, seconds=3.0)
        )
        number += _COMMITS_A_NIGHT
    for place, commit in enumerate(rest, start=number + 1):
        yield replace(commit, number=place)


def _shares(day: Interval, count: int) -> Iterator[tuple[int, Interval]]:
    """Yields `count` equal intervals of a day, with their places in it."""
    for place in range(count):
        yield place, Interval(day.start + DAY * place // count, day.start + DAY * (place + 1) // count)


def _part(window: Interval, name: str, size_bytes: int) -> DataFile:
    partition, _ = partition_of(window.start, "day")
    return DataFile(
        path=part_path(CONVERSATIONS, partition, name),
        table=CONVERSATIONS,
        partition=partition,
        rows=4_000,
        size_bytes=size_bytes,
        sha256=sha256(name.encode()).hexdigest(),
        created_at_min=window.start,
        created_at_max=window.end - 1,
        window=window,
        absent={"custom_metadata": 3},
        recorded_rows=0,
        unrecorded_rows=3_900,
    )


def _make_part(path: Path, size_bytes: int) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size_bytes)


def _record(commit: Commit) -> RunRecord:
    at = to_datetime(commit.committed_at)
    return RunRecord(
        run=commit.author.run,
        command="sync",
        started_at=at,
        ended_at=at,
        exit_status=0,
        error=None,
        message=None,
        state="complete",
        generation_before=commit.number - _COMMITS_A_NIGHT,
        generation=commit.number,
        rows=0,
        files=0,
        bytes=0,
        requests=5,
        retries=0,
        throttled=0,
        host=commit.author.host,
        pid=commit.author.pid,
        exporter="0",
    )


if __name__ == "__main__":
    anyio.run(age, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
