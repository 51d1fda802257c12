"""Merges small parts of a partition, so that neither splitting the work nor running often leaves crumbs to readers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import compress
from operator import add
from typing import Final

from anyio import to_thread

from exporter.coverage import Interval
from exporter.log.commits import CommitLog
from exporter.log.files import TableParts
from exporter.log.state import State
from exporter.model import Change, DataFile
from exporter.parts.integrity import as_written
from exporter.parts.reader import copy_rows
from exporter.pipeline.committer import Committer
from exporter.pipeline.part_stage import PartStage
from exporter.progress import Observer
from exporter.schedule.compaction import choose_merges
from exporter.tasks import for_each

#: About this much is stored twice at a time: sources that were merged are deleted before more are merged.
_TWICE_BYTES: Final = 1024**3
#: The number of merges at a time: each has files open, and row groups in memory.
MERGED_AT_ONCE: Final = 2


async def merge_small_parts(
    log: CommitLog,
    stage: PartStage,
    committer: Committer,
    observer: Observer,
    *,
    least_bytes: int,
    growing: Mapping[str, str] | None = None,
) -> None:
    """Merges parts below `least_bytes` with their neighbours, as `choose_merges` says, and commits each merged one in
    place of its sources. The manifest is brought up to date wherever something has changed.

    Raises `StoreError`, after committing what it could.
    """
    # This repeats until there is nothing to choose: a merged part may come out smaller than its sources together.
    while groups := choose_merges(
        _beside_small(log.state.conversations, least_bytes),
        log.state.coverage,
        least_bytes=least_bytes,
        target_bytes=stage.target_part_bytes,
        growing=growing,
    ):
        await _merge(log.state, list(_first(groups)), stage, committer, observer)
        await committer.write_manifest()


def _beside_small(parts: TableParts, least_bytes: int) -> list[DataFile]:
    """Returns the parts of those partitions that have one below `least_bytes`: no other is merged."""
    is_small = map(least_bytes.__gt__, parts.each_of("size_bytes"))
    has_small = {*compress(parts.each_of("directory"), is_small)}
    is_beside = map(has_small.__contains__, parts.each_of("directory"))
    return parts.of(compress(parts.each_of("handle"), is_beside))


def _first(groups: Sequence[Sequence[DataFile]]) -> Iterator[Sequence[DataFile]]:
    size = 0
    for group in groups:
        size += sum(file.size_bytes for file in group)
        yield group
        if size >= _TWICE_BYTES:
            return


async def _merge(
    state: State,
    groups: Sequence[Sequence[DataFile]],
    stage: PartStage,
    committer: Committer,
    observer: Observer,
) -> None:
    observer.note("merging small files", files=sum(map(len, groups)), into=len(groups))
    # A reader that trusts `_SUCCESS` would count the rows of old and new parts.
    await committer.unseal()

    async def merge(group: Sequence[DataFile]) -> None:
        merged = await _merged(group, stage)
        sources = [*group, *(turns for file in group for turns in state.turns_beside(file))]
        change = Change(adds=merged, removes=tuple(file.path for file in sources))
        await committer.commit(change, kind="compact")

    await for_each(groups, merge, at_once=MERGED_AT_ONCE)


async def _merged(group: Sequence[DataFile], stage: PartStage) -> tuple[DataFile, ...]:
    """Publishes the part that replaces those in `group`, which run from old to new, and the part of its turns.

    Nothing is committed.
    """
    oldest, newest = group[0], group[-1]
    writer = stage.new_part()
    try:
        for file in reversed(group):
            async with as_written(stage.store, file, stage.working) as source:
                await to_thread.run_sync(copy_rows, [source], writer, limiter=stage.working)
        finished = await to_thread.run_sync(writer.close, limiter=stage.working)
    except BaseException:
        writer.abort()
        raise
    return await stage.publish(
        finished.closed(
            oldest.partition,
            Interval(oldest.window.start, newest.window.end),
            reduce(add, (Counter(file.absent) for file in group)),
            sum(file.withheld_rows for file in group),
        )
    )
