"""Finds what has expired in the files of an export, and writes what is left of those that hold something of it.

A floor cuts at most one part of conversations. What a floor of a field has passed before is null already: so the cost
of a night is that of its day, whatever the export holds.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from exporter.contract import BEGINNING, Instant
from exporter.coverage import Coverage, Interval
from exporter.encode.floor import have_values, without_members, without_values
from exporter.layout import CONVERSATIONS, RECORDINGS
from exporter.log.commits import load_commits
from exporter.log.expiry import expiring, field_floors, row_floor
from exporter.log.quarantine import created_at_of, cut_row
from exporter.log.state import State
from exporter.model import Change, DataFile, ExportFile, QuarantineFile
from exporter.parts.columns import ID_COLUMNS, SORT_COLUMN, SORT_COLUMNS, complete
from exporter.parts.integrity import as_written, opened
from exporter.parts.nulls import Nulls
from exporter.parts.reader import read_batches
from exporter.parts.writer import Writer
from exporter.pipeline.changes import Changes, gathering
from exporter.pipeline.marks import marks_by_nulls
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import read_lines, write_lines
from exporter.pipeline.recording_parts import without_rows
from exporter.store.base import Store

_NO_ROWS: Final = Nulls()


class Expired(msgspec.Struct):
    """Says what goes when floors are `raised` above those of `before`.

    `conversations`, `recordings` and `lines` of the quarantine leave, and `values` of each field become null, in this
    many rows. `gone` are the parts of which nothing is left, `cut` the parts of conversations with other rows or
    values, `moved` those of which only the window changes, and `recorded` the ids that leave parts of recordings.
    `quarantined` are the lines that stay of quarantine files. `forgotten` are the replaced files that are no longer
    kept.
    """

    before: Mapping[str, Instant]
    raised: dict[str, Instant]
    conversations: int = 0
    recordings: int = 0
    lines: int = 0
    values: dict[str, int] = msgspec.field(default_factory=dict)
    gone: list[DataFile] = msgspec.field(default_factory=list)
    cut: list[DataFile] = msgspec.field(default_factory=list)
    moved: list[DataFile] = msgspec.field(default_factory=list)
    recorded: dict[str, list[str]] = msgspec.field(default_factory=dict)
    quarantined: dict[str, list[bytes]] = msgspec.field(default_factory=dict)
    forgotten: list[str] = msgspec.field(default_factory=list)

    @property
    def floors(self) -> dict[str, Instant]:
        """Returns all floors, after these were raised."""
        return {**self.before, **self.raised}

    def __bool__(self) -> bool:
        """Returns whether anything goes."""
        return bool(self.gone or self.cut or self.recorded or self.quarantined or self.forgotten)

    @property
    def rewritten(self) -> int:
        """Returns how many parts are replaced."""
        return len(self.cut) + sum(len(ids) > 0 for ids in self.recorded.values())


async def find_expired(store: Store, state: State, raised: dict[str, Instant]) -> Expired:
    """Finds what goes when floors are `raised`; reads parts only where the log does not tell. Raises `StoreError`."""
    found = Expired(state.privacy.floors, raised)
    floor = row_floor(raised)
    # Most runs raise no floor: they need not look at each part.
    for file in sorted(state.conversations, key=lambda file: file.window) if raised else ():
        if file.created_at_max < floor:
            found.gone += [file, *state.turns_beside(file)]
            found.conversations += file.rows
        else:
            await _look(store, state, file, found)
    # Conversations may have moved below this floor since it was raised, and taken their recordings along.
    below = row_floor(found.floors, RECORDINGS)
    for file in state.recordings:
        if file.created_at_max < below:
            found.gone.append(file)
            found.recordings += file.rows
        elif file.created_at_min < below:
            async with opened(store, file) as part:
                found.recorded[file.path] = await to_thread.run_sync(_ids_below, part, below)
            found.recordings += len(found.recorded[file.path])
    for quarantined in state.quarantine.values():
        if any(expiring(quarantined, found.before, raised)):
            await _look_at_lines(store, quarantined, found)
    if state.kept and raised:
        found.forgotten = await _no_longer_kept(store, state, found)
    return found


async def _look(store: Store, state: State, file: DataFile, found: Expired) -> None:
    """Finds what goes of a part of conversations that stays."""
    floor, times = row_floor(found.raised), None
    is_cut = False
    for name, span in expiring(file, found.before, found.raised):
        if name != CONVERSATIONS and (state.request is None or name not in (state.request.fields or (name,))):
            continue
        span_above = span if name == CONVERSATIONS else _above(span, floor)
        if span_above is None:
            continue
        if file.created_at_min >= span_above.start and file.created_at_max < span_above.end:
            rows = file.rows
        else:
            if times is None:
                async with opened(store, file) as part:
                    times = await to_thread.run_sync(_times_in, part)
            inside = pc.and_(pc.greater_equal(times, span_above.start), pc.less(times, span_above.end))
            rows = inside.true_count
        is_cut = is_cut or rows > 0
        if name == CONVERSATIONS:
            found.conversations += rows
        elif rows:
            found.values[name] = found.values.get(name, 0) + rows
    if is_cut:
        found.cut.append(file)
    elif file.window.start < floor:
        found.moved += [file, *state.turns_beside(file)]


def _above(span: Interval, floor: Instant) -> Interval | None:
    start = max(span.start, floor)
    return Interval(start, span.end) if start < span.end else None


async def _look_at_lines(store: Store, file: QuarantineFile, found: Expired) -> None:
    lines = await read_lines(store, file)
    floor, fields = row_floor(found.raised), field_floors(found.raised)
    rest = []
    for line in lines:
        created_at = created_at_of(line)
        if created_at < floor:
            found.lines += 1
            continue
        names = [name for name, at in fields.items() if created_at < at]
        rest.append(cut_row(line, partial(without_members, names=names)) if names else line)
    if rest != lines:
        found.quarantined[file.path] = rest


async def _no_longer_kept(store: Store, state: State, found: Expired) -> list[str]:
    """Returns the replaced files that hold something that expires. Only the log knows what they held."""
    if not state.kept:
        return []
    known: dict[str, ExportFile] = {}
    for commit in await load_commits(store):
        known |= {file.path: file for file in commit.change.files}
    return sorted(path for path in state.kept if any(expiring(known[path], found.before, found.raised)))


def _times_in(part: Path) -> pa.Array:
    batches = read_batches([part], [SORT_COLUMN])
    return pa.chunked_array([batch.column(0).cast(pa.int64()) for batch in batches], pa.int64()).combine_chunks()


def _ids_below(part: Path, floor: Instant) -> list[str]:
    found: list[str] = []
    for batch in read_batches([part], [ID_COLUMNS[RECORDINGS], SORT_COLUMNS[RECORDINGS]]):
        times = batch.column(SORT_COLUMNS[RECORDINGS]).cast(pa.int64())
        found += batch.filter(pc.less(times, floor)).column(ID_COLUMNS[RECORDINGS]).to_pylist()
    return found


async def cut_expired(found: Expired, state: State, stage: PartStage) -> Change:
    """Publishes what is left of the files that change, and returns the change to commit. Raises `StoreError`."""
    floor = row_floor(found.raised)
    adds: list[DataFile] = []
    removes = [file.path for file in (*found.gone, *found.moved)]
    async with gathering(stage) as changes:
        await changes.files_gone(found.gone)
        for file in found.cut:
            adds += await _rewritten(file, found, stage, changes)
            removes += [file.path, *(turns.path for turns in state.turns_beside(file))]
        changed = await changes.publish()
    for file in found.moved:
        adds.append(msgspec.structs.replace(file, window=Interval(floor, file.window.end)))
    for path, ids in found.recorded.items():
        rest = await without_rows(stage, state.files[path], ids)
        adds += [] if rest is None else [rest]
        removes.append(path)
    quarantines = []
    for path, lines in found.quarantined.items():
        removes.append(path)
        if lines:
            window = state.quarantine[path].window
            if window is not None:
                window = Interval(min(max(window.start, floor), window.end - 1), window.end)
            quarantines.append(await write_lines(stage.store, stage.next_name(), lines, window, rest_of=path))
    below = Coverage([Interval(BEGINNING, floor)] if floor > BEGINNING else ())
    return Change(
        adds=tuple(adds),
        removes=tuple(removes),
        quarantines=tuple(quarantines),
        changed=changed,
        uncovers=(state.coverage & below).intervals,
    )


async def _rewritten(file: DataFile, found: Expired, stage: PartStage, changes: Changes) -> tuple[DataFile, ...]:
    writer, lost = stage.new_part(), Nulls()
    floor = row_floor(found.raised)

    def write(part: Path) -> None:
        for batch in _left_of(part, found.floors, floor, lost, writer, changes):
            writer.write(batch)

    try:
        async with as_written(stage.store, file, stage.working) as part:
            await to_thread.run_sync(write, part, limiter=stage.working)
        finished = await to_thread.run_sync(writer.close, limiter=stage.working)
    except BaseException:
        writer.abort()
        raise
    window = Interval(max(file.window.start, floor), file.window.end)
    absent, withheld = marks_by_nulls(file, lost, (), _NO_ROWS)
    return await stage.publish(finished.closed(file.partition, window, absent, withheld))


def _left_of(
    part: Path, floors: Mapping[str, Instant], floor: Instant, lost: Nulls, writer: Writer, changes: Changes
) -> Iterator[pa.RecordBatch]:
    values = field_floors(floors)
    for older in read_batches([part]):
        batch = complete(older, writer.schema)
        goes = pc.less(batch.column(SORT_COLUMN).cast(pa.int64()), floor)
        if goes.true_count:
            going = batch.filter(goes)
            lost.count(going)
            changes.gone(going)
            batch = batch.filter(pc.invert(goes))
        if batch.num_rows:
            changes.replaced(batch.filter(have_values(batch, values)))
            yield without_values(batch, values)
