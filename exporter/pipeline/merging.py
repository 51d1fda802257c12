"""Small parts of one partition made one, when all is read: splitting the work leaves no crumbs to readers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add

import anyio
from anyio import to_thread

from exporter.errors import ExporterError
from exporter.model import Change, DataFile, Interval
from exporter.pipeline.committing import Committer
from exporter.pipeline.writing import PartsFactory, data_file
from exporter.plan.merging import choose_merges
from exporter.progress import Observer
from exporter.store.parts import copy_rows


async def merge_small_parts(
    files: Iterable[DataFile], factory: PartsFactory, committer: Committer, observer: Observer, *, least_bytes: int
) -> None:
    """Merges parts below `least_bytes` with their neighbours, and commits each merged one in place of its sources.

    The sources are deleted when the manifest is written. Raises `StoreError`, after what can be committed was.
    """
    groups = choose_merges(files, least_bytes=least_bytes, target_bytes=factory.target_part_bytes)
    if not groups:
        return
    observer.note("merging small files", files=sum(map(len, groups)), into=len(groups))
    # A reader who trusts it would count the rows of old and new parts.
    await committer.unseal()
    failures: list[ExporterError] = []

    async def merge(group: Sequence[DataFile]) -> None:
        try:
            merged = await _merged(group, factory)
            await committer.commit(Change(adds=(merged,), removes=tuple(file.path for file in group)))
        except ExporterError as error:
            failures.append(error)
            merging.cancel_scope.cancel()

    async with anyio.create_task_group() as merging:
        for group in groups:
            merging.start_soon(merge, group)
    if failures:
        raise failures[0]


async def _merged(group: Sequence[DataFile], factory: PartsFactory) -> DataFile:
    """The part that holds what the parts of `group` held, which run from old to new; published, and not committed."""
    store, oldest, newest = factory.store, group[0], group[-1]
    sources = [store.locate(file.path) for file in reversed(group)]
    name, writer = factory.new_part()
    try:
        await to_thread.run_sync(copy_rows, sources, writer, limiter=factory.working)
        finished = await to_thread.run_sync(writer.close, limiter=factory.working)
    except BaseException:
        writer.abort()
        raise
    merged = data_file(
        name,
        oldest.partition,
        finished,
        Interval(oldest.window.start, newest.window.end),
        reduce(add, (Counter(file.absent) for file in group)),
        sum(file.withheld_rows for file in group),
        oldest.table,
    )
    await store.publish(store.staging_file(name), merged.path)
    return merged
