"""Lets the rows of recordings follow their conversations: out of the export, or to another time and partition.

Media lies in the partition of the row that names it, so that a sweep of one partition needs to know no other. A row
that moves therefore takes a copy of its media along, because the source may no longer have it. What it leaves behind is
swept after the commit. A conversation that goes to quarantine is still one, and its recording stays.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from anyio import to_thread

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.encode.recordings import RecordingRow
from exporter.errors import DamagedPartError
from exporter.layout import RECORDINGS, media_extension, media_path, partition_text
from exporter.log.expiry import row_floor
from exporter.log.state import State
from exporter.model import DataFile, ExportFile
from exporter.partitions import Partition
from exporter.parts.integrity import as_written, chunks_of, opened
from exporter.parts.merge import MergePlan
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_parts import publish_recordings, rows_in, without_rows
from exporter.pipeline.spool_sink import Spool
from exporter.store.disk import fsync, open_private, reporting


class Followed(msgspec.Struct, frozen=True):
    """Holds what a commit adds and removes so that recordings follow."""

    adds: list[DataFile] = msgspec.field(default_factory=list)
    removes: list[str] = msgspec.field(default_factory=list)


def touched_ids(
    spool: Spool,
    plans: Mapping[Interval, MergePlan],
    lines: Mapping[Interval, Collection[str]],
    misfits: Collection[str],
) -> dict[str, set[str]]:
    """Returns the ids that leave each partition, by its name, or are there with other times; `lines` are those that
    leave quarantine, by home.

    `misfits` go there, and do not leave.
    """
    touched: dict[str, set[str]] = {}
    for interval, plan in plans.items():
        left = plan.left.union(lines.get(interval, ())).difference(misfits)
        if ids := left | plan.updated:
            touched.setdefault(partition_text(spool.homes[interval].partition), set()).update(ids)
    return touched


def taken_times(plans: Mapping[Interval, MergePlan]) -> dict[str, Instant]:
    """Returns when the conversations that parts take were created, by id."""
    return {name: version.created_at for plan in plans.values() for name, version in plan.taken.items()}


async def follow(
    state: State, stage: PartStage, touched: Mapping[str, Collection[str]], times: Mapping[str, Instant]
) -> Followed:
    """Publishes parts in which rows follow the conversations that were `touched`, by partition: to where `times` place
    them, or out of the export if they are in none.

    A row that finds another one of its conversation there is dropped, as is one whose media is damaged: it is fetched
    again. One whose conversation moves to where recordings have expired goes. Raises `StoreError`, and
    `DamagedPartError` for a damaged part.
    """
    followed, moving = Followed(), dict[str, tuple[str, RecordingRow]]()
    floor = row_floor(state.privacy.floors, RECORDINGS)
    times = {name: created_at for name, created_at in times.items() if created_at >= floor}
    for file in state.recordings:
        text = partition_text(file.partition)
        rows = [
            row
            for row in await _read(stage, file, touched.get(text, ()))
            if times.get(row.conversation_id) != row.conversation_created_at
        ]
        if not rows:
            continue
        rest = await without_rows(stage, file, {row.conversation_id for row in rows})
        followed.removes.append(file.path)
        followed.adds.extend([] if rest is None else [rest])
        moving |= {row.conversation_id: (text, row) for row in rows if row.conversation_id in times}
    places = {name: stage.tables.place(times[name])[0] for name in moving}
    for text, partition in sorted({partition_text(place): place for place in places.values()}.items()):
        names = {name for name in moving if places[name] == partition}
        strange = {name for name in names if moving[name][0] != text}
        for file in state.recordings:
            if partition_text(file.partition) == text:
                names -= {row.conversation_id for row in await _read(stage, file, strange)}
        moved = [await _moved(stage, moving[name][1], partition, times[name]) for name in sorted(names)]
        if kept := [row for row in moved if row is not None]:
            followed.adds.append(await publish_recordings(stage, partition, (), kept))
    return followed


async def _read(stage: PartStage, file: DataFile, ids: Collection[str]) -> list[RecordingRow]:
    """Returns the rows of these conversations."""
    if not ids:
        return []
    async with opened(stage.store, file) as part:
        return await to_thread.run_sync(rows_in, part, ids, limiter=stage.working)


async def _moved(stage: PartStage, row: RecordingRow, to: Partition, created_at: Instant) -> RecordingRow | None:
    """Returns a row as it is in a partition, after its media was copied there; None if that is damaged."""
    path = row.path
    if path is not None and row.sha256 is not None and row.bytes is not None:
        media = ExportFile(path=path, rows=0, size_bytes=row.bytes, sha256=row.sha256)
        path = media_path(to, row.sha256, media_extension(path))
        if path != row.path:
            staged = stage.store.staging_file(f"{stage.next_name()}-media")
            try:
                async with as_written(stage.store, media, stage.working) as source:
                    await to_thread.run_sync(_copy, source, staged, limiter=stage.working)
            except DamagedPartError:
                return None
            await stage.store.publish_media(staged, path)
    return msgspec.structs.replace(row, conversation_created_at=created_at, path=path)


def _copy(source: Path, to: Path) -> None:
    with reporting(to), os.fdopen(open_private(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        for chunk in chunks_of(source):
            file.write(chunk)
        file.flush()
        fsync(file.fileno())
