"""Publishes parts of recordings, and joins small ones. A row of a conversation stands in the place of its older one."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from anyio import CancelScope, to_thread

from exporter.coverage import Interval
from exporter.encode.recordings import RecordingRow, encode_recordings
from exporter.layout import RECORDINGS, part_path, partition_text
from exporter.log.commits import CommitLog
from exporter.model import Change, DataFile
from exporter.partitions import Partition
from exporter.parts.columns import ID_COLUMNS
from exporter.parts.integrity import as_written
from exporter.parts.reader import read_batches
from exporter.parts.recordings import write_recordings
from exporter.pipeline.committer import Committer
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.table_parts import StagedPart

#: Parts below this size are joined. A row takes some 130 bytes, and a part is held in memory while it is rewritten.
LEAST_BYTES: Final = 4 * 1024 * 1024


async def publish_recordings(
    stage: PartStage,
    partition: Partition,
    older: Sequence[DataFile],
    newer: Iterable[RecordingRow] = (),
    *,
    without: Collection[str] = (),
) -> DataFile:
    """Publishes one part of a partition with the rows of `older` parts and `newer` rows, for a commit to put in place
    of the older parts; the older rows of the conversations in `without` are left out. Raises `StoreError`."""
    name, writer = stage.new_recordings_part()
    try:
        async with AsyncExitStack() as stack:
            paths = [await stack.enter_async_context(as_written(stage.store, file, stage.working)) for file in older]
            work = partial(write_recordings, writer, paths, encode_recordings(newer), without)
            written = await to_thread.run_sync(work, limiter=stage.working)
    except BaseException:
        writer.abort()
        raise
    part = written.part
    file = DataFile(
        path=part_path(RECORDINGS, partition, name),
        table=RECORDINGS,
        partition=partition,
        rows=part.rows,
        size_bytes=part.size_bytes,
        sha256=part.sha256,
        created_at_min=part.created_at_min,
        created_at_max=part.created_at_max,
        window=Interval(part.created_at_min, part.created_at_max + 1),
        statuses=written.statuses,
        media_files=written.media_files,
        media_bytes=written.media_bytes,
        key=part.key,
    )
    await stage.publish([StagedPart(name, file)])
    return file


def rows_in(part: Path, ids: Collection[str] | None = None) -> list[RecordingRow]:
    """Returns the rows of a part, or only those of these conversations. Blocks. Raises `StoreError`."""
    found = []
    for batch in read_batches([part]):
        rows = pa.Table.from_batches([batch])
        if ids is not None:
            rows = rows.filter(pc.is_in(rows[ID_COLUMNS[RECORDINGS]], pa.array(sorted(ids), pa.string())))
        for name in ("conversation_created_at", "fetched_at"):
            rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].cast(pa.int64()))
        found += [RecordingRow(**row) for row in rows.to_pylist()]
    return found


async def without_rows(stage: PartStage, file: DataFile, ids: Collection[str]) -> DataFile | None:
    """Publishes what is left of a part without the rows of these conversations, all of which it has, for a commit to
    put in its place; returns None if no row is left.

    Raises `StoreError`.
    """
    if len(ids) >= file.rows:
        return None
    return await publish_recordings(stage, file.partition, [file], without=ids)


async def join_recordings(
    log: CommitLog, stage: PartStage, committer: Committer, partitions: Iterable[Partition] | None = None
) -> None:
    """Joins the small parts of recordings in these partitions (None: in all), and brings the manifest up to date
    wherever there were some.

    Raises `StoreError`, after committing what it could.
    """
    texts = None if partitions is None else {partition_text(partition) for partition in partitions}
    for group in choose_joins(log.state.recordings, texts):
        # A stop waits for these few parts, so that it leaves a sealed export sealed.
        with CancelScope(shield=True):
            # A reader that trusts `_SUCCESS` would count the rows of old and new parts.
            await committer.unseal()
            joined = await publish_recordings(stage, group[0].partition, group)
            change = Change(adds=(joined,), removes=tuple(file.path for file in group))
            await committer.commit(change, kind="compact")
            await committer.write_manifest()


def choose_joins(
    files: Iterable[DataFile], partitions: Collection[str] | None = None, least_bytes: int = LEAST_BYTES
) -> Iterator[list[DataFile]]:
    """Yields groups of parts to join, each in one partition; no more than one small part is left in each."""
    small: defaultdict[str, list[DataFile]] = defaultdict(list)
    for file in files:
        text = partition_text(file.partition)
        if file.size_bytes < least_bytes and (partitions is None or text in partitions):
            small[text].append(file)
    for found in small.values():
        group: list[DataFile] = []
        for file in sorted(found, key=lambda file: (file.window, file.path)):
            group.append(file)
            if sum(one.size_bytes for one in group) >= least_bytes:
                yield group
                group = []
        if len(group) > 1:
            yield group
