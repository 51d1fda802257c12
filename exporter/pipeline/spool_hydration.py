"""Completes rows that were put aside, before they are merged: only those that the export does not hold as listed.

What the list leaves out says nothing about whether a row has changed. So a row is held against its stored version by
what was listed; if that is the same, the stored row stays, and costs no request. A row that does not come by id keeps
what was stored of it where the list leaves that out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial, reduce
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread
from msgspec import UNSET
from msgspec.structs import replace

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.encode.floor import without_values
from exporter.encode.rows import Misfit, ServedRow
from exporter.layout import CONVERSATIONS
from exporter.log.quarantine import line_of
from exporter.model import DataFile, Rows
from exporter.parts.columns import ID_COLUMN, SORT_COLUMN, complete
from exporter.parts.integrity import opened
from exporter.parts.merge import find_unchanged
from exporter.parts.nulls import Nulls, count_values
from exporter.parts.reader import read_batches
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import write_quarantine
from exporter.pipeline.spool_sink import Spool, SpooledPart, digest
from exporter.pipeline.table_parts import TablesWriter


class _Side(msgspec.Struct):
    """Holds a part that is being written: of the rows that must be merged, or of those that `is_kept` as they are.

    `null` counts, by field, the values that came as null.
    """

    writer: TablesWriter
    is_kept: bool
    nulls: Nulls = msgspec.field(default_factory=Nulls)
    null: Counter[str] = msgspec.field(default_factory=Counter)


async def complete_spool(spool: Spool, stage: PartStage, hydrator: Hydrator, *, again: bool) -> None:
    """Puts completed parts in the place of those in `spool`. `again` also asks for rows that are stored as listed.

    Raises `SourceError` and `StoreError`.
    """
    for interval, parts in spool.parts.items() if hydrator.fields else ():
        file = spool.homes[interval].file
        completed: list[SpooledPart] = []
        for part in parts:
            work = _Completion(part, file, interval, spool, stage, hydrator)
            completed += await work.run(again=again)
        spool.parts[interval] = completed


class _Completion(msgspec.Struct, frozen=True):
    """Completes one part of a spool, whose rows belong to a home with the stored part `file`."""

    part: SpooledPart
    file: DataFile | None
    interval: Interval
    spool: Spool
    stage: PartStage
    hydrator: Hydrator

    async def run(self, *, again: bool) -> list[SpooledPart]:
        part, working = self.part, self.stage.working
        lacking = sorted(name for name in self.hydrator.fields if part.absent.get(name))
        if not lacking:
            return [part]
        same: set[str] = set()
        if self.file is not None and not again:
            unlisted = [name for name in lacking if part.absent[name] == part.rows]
            async with opened(self.stage.store, self.file) as stored:
                same = await to_thread.run_sync(find_unchanged, stored, part.path, unlisted, limiter=working)
        sides: dict[bool, _Side] = {}
        try:
            batches = read_batches([part.path])
            while (batch := await to_thread.run_sync(next, batches, None, limiter=working)) is not None:
                offset = 0
                while offset < batch.num_rows:
                    piece = batch.slice(offset, self.hydrator.piece_rows)
                    offset += piece.num_rows
                    await self._take(piece, lacking, same, sides)
            return [await self._close(sides.pop(is_kept), lacking, same) for is_kept in sorted(sides)]
        finally:
            for side in sides.values():
                side.writer.abort()

    async def _take(self, batch: pa.RecordBatch, lacking: list[str], same: set[str], sides: dict[bool, _Side]) -> None:
        rows = complete(batch, self.stage.tables.encoder.schema)
        keeps = pa.array([identity in same for identity in rows.column(ID_COLUMN).to_pylist()], pa.bool_())
        if keeps.true_count:
            self._write(rows.filter(keeps), sides, is_kept=True)
        rest = rows.filter(pc.invert(keeps))
        if not rest.num_rows:
            return
        room = await self.hydrator.hold()
        try:
            patch = await self._ask(rest, lacking)
            if patch.misfits:
                await self._put_aside(patch.misfits)
            if leaving := patch.refused.union(misfit.id for misfit in patch.misfits):
                rest = rest.filter(pc.invert(_with_ids(rest, leaving)))
            floors = self.stage.tables.encoder.floors
            completed = await to_thread.run_sync(patch.apply, rest, lacking, floors, limiter=self.stage.working)
            if completed.num_rows:
                self._write(completed, sides, is_kept=False).null.update(patch.null)
        finally:
            room.release()

    def _write(self, rows: pa.RecordBatch, sides: dict[bool, _Side], *, is_kept: bool) -> _Side:
        if is_kept not in sides:
            sides[is_kept] = _Side(self.stage.new_part_aside(), is_kept)
        side = sides[is_kept]
        side.nulls.count(rows)
        side.writer.write(rows)
        return side

    async def _ask(self, rows: pa.RecordBatch, lacking: list[str]) -> "_Patch":
        """Asks for the rows that lack a value."""
        lacks = reduce(pc.or_, (self._may_have(rows, name) for name in lacking))
        asked = rows.filter(lacks)
        ids, times = asked.column(ID_COLUMN).to_pylist(), asked.column(SORT_COLUMN).cast(pa.int64()).to_pylist()
        came = await self.hydrator.ask(ids)
        refused = {identity for identity, row in came.items() if not self.hydrator.admits(row)}
        patch = _Patch(rows.slice(0, 0), rows.slice(0, 0), refused=refused)
        fitting: list[ServedRow] = []
        fitting_at: list[Instant] = []
        for identity, at in zip(ids, times, strict=True):
            match None if identity in refused else came.get(identity):
                case Misfit() as misfit:
                    patch.misfits.append(Misfit(misfit.id, at, misfit.reason, misfit.text))
                case ServedRow() as row:
                    fitting.append(row)
                    fitting_at.append(at)
        for name in lacking:
            brought = [position for position, row in enumerate(fitting) if getattr(row, name) is not UNSET]
            patch.brought[name] = {fitting[position].id: position for position in brought}
        encoder, nothing = self.stage.tables.encoder, [None] * len(fitting)
        if fitting:
            made = partial(encoder.encode, Rows(fitting, fitting_at, nothing))
            patch.came = (await to_thread.run_sync(made, limiter=self.stage.working)).batch
            for name, positions in patch.brought.items():
                patch.null[name] = patch.came.column(name).take(pa.array([*positions.values()], pa.int64())).null_count
        missed = [identity for identity in ids if any(identity not in patch.brought[name] for name in lacking)]
        if missed and self.file is not None:
            async with opened(self.stage.store, self.file) as stored:
                patch.stored = await to_thread.run_sync(_find, stored, missed, rows.schema, limiter=self.stage.working)
        return patch

    def _may_have(self, rows: pa.RecordBatch, name: str) -> pa.BooleanArray:
        """Says of each row whether it lacks a field that has not expired."""
        lacks, floor = rows.column(name).is_null(), self.hydrator.floors.get(name)
        if floor is None:
            return lacks
        return pc.and_(lacks, pc.greater_equal(rows.column(SORT_COLUMN).cast(pa.int64()), floor))

    async def _put_aside(self, misfits: list[Misfit]) -> None:
        spool, stage = self.spool, self.stage
        misfits = stage.tables.encoder.put_aside(misfits)
        lines = {misfit.id: digest(line_of(misfit)) for misfit in misfits}
        spool.misfits.append((await write_quarantine(stage.store, stage.next_name(), misfits), lines))
        spool.misfit_ids.setdefault(self.interval, set()).update(lines)

    async def _close(self, side: _Side, lacking: list[str], same: set[str]) -> SpooledPart:
        try:
            finished = await to_thread.run_sync(side.writer.close, limiter=self.stage.working)
        except BaseException:
            side.writer.abort()
            raise
        staged, written = finished.parts[CONVERSATIONS]
        nulls, part, file = side.nulls, self.part, self.file
        absent = {name: min(count, nulls.by_column[name] - side.null[name]) for name, count in part.absent.items()}
        withheld = min(part.withheld_rows, nulls.withheld_rows)
        if side.is_kept and file is not None:
            async with opened(self.stage.store, file) as stored:
                values = await to_thread.run_sync(count_values, stored, same, lacking, limiter=self.stage.working)
            absent |= {name: min(file.absent.get(name, 0), written.rows - values[name]) for name in lacking}
            withheld = min(withheld, file.withheld_rows)
        return replace(
            part,
            path=self.stage.store.staging_file(staged),
            newest=written.created_at_max,
            rows=written.rows,
            absent={name: count for name, count in absent.items() if count},
            withheld_rows=withheld,
            is_kept=side.is_kept,
        )


class _Patch(msgspec.Struct):
    """Holds what fills the gaps of a few rows: rows that `came`, and `stored` ones for those that did not.

    `brought` says which of those that came have a field, by the position of their ids, and `null` in how many of these
    it is null. `misfits` turned out to fit no column, and those `refused` to be of
    somebody who was erased.
    """

    came: pa.RecordBatch
    stored: pa.RecordBatch
    brought: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    null: Counter[str] = msgspec.field(default_factory=Counter)
    misfits: list[Misfit] = msgspec.field(default_factory=list)
    refused: set[str] = msgspec.field(default_factory=set)

    def apply(self, rows: pa.RecordBatch, names: Iterable[str], floors: Mapping[str, Instant]) -> pa.RecordBatch:
        """Returns the rows with values in the place of nulls in these columns, above their `floors`."""
        ids = rows.column(ID_COLUMN).to_pylist()
        stored = {identity: number for number, identity in enumerate(self.stored.column(ID_COLUMN).to_pylist())}
        first_came, first_stored = rows.num_rows, rows.num_rows + self.came.num_rows
        columns = {name: rows.column(name) for name in rows.schema.names}
        for name in names:
            own, brought = columns[name], self.brought.get(name, {})
            positions = [
                number
                if not is_null
                else first_came + brought[identity]
                if identity in brought
                else first_stored + stored[identity]
                if identity in stored
                else number
                for number, (identity, is_null) in enumerate(zip(ids, own.is_null().to_pylist(), strict=True))
            ]
            every = pa.concat_arrays([own, self.came.column(name), self.stored.column(name)])
            columns[name] = every.take(pa.array(positions, pa.int64()))
        # What was stored of a row that has moved may have come from above a floor.
        return without_values(pa.RecordBatch.from_arrays([*columns.values()], schema=rows.schema), floors)


def _with_ids(rows: pa.RecordBatch, ids: Iterable[str]) -> pa.BooleanArray:
    return pc.is_in(rows.column(ID_COLUMN), pa.array(sorted(ids), pa.string()))


def _find(part: Path, ids: Iterable[str], schema: pa.Schema) -> pa.RecordBatch:
    """Returns the rows of a part with these ids, of which there are few."""
    found = [complete(batch.filter(_with_ids(batch, ids)), schema) for batch in read_batches([part])]
    return pa.concat_batches(found) if found else pa.RecordBatch.from_pylist([], schema)
