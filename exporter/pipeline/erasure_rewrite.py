"""Writes what is left of files without the rows of some conversations, for one commit to put in their place."""

from collections.abc import Collection
from dataclasses import dataclass, field

from anyio import to_thread

from exporter.layout import CONVERSATIONS, QUARANTINE, RECORDINGS, TURNS, dropped_path, turns_path, undropped_path
from exporter.log.quarantine import id_of
from exporter.log.state import State
from exporter.model import Change, ChangesFile, DataFile, QuarantineFile
from exporter.parts.columns import ID_COLUMNS
from exporter.parts.integrity import as_written
from exporter.parts.merge import MergePlan, merge
from exporter.parts.nulls import Nulls
from exporter.parts.rest import write_rest
from exporter.pipeline.changes import Changes, gathering
from exporter.pipeline.compaction import MERGED_AT_ONCE
from exporter.pipeline.erasure_scan import Findings, Look
from exporter.pipeline.marks import marks_by_nulls
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import lines_in, put_lines_aside, read_lines, write_lines
from exporter.pipeline.recording_parts import without_rows
from exporter.tasks import for_each


@dataclass(slots=True)
class Rewritten:
    """Holds what a commit changes so that some conversations are gone. `deleted` counts parts of which no row is left,
    and `rewritten` the others."""

    adds: list[DataFile] = field(default_factory=list)
    removes: set[str] = field(default_factory=set)
    quarantines: list[QuarantineFile] = field(default_factory=list)
    changed: tuple[ChangesFile, ...] = ()
    rewritten: int = 0
    deleted: int = 0

    @property
    def change(self) -> Change:
        return Change(
            adds=tuple(sorted(self.adds, key=lambda file: (file.window, file.path))),
            removes=tuple(sorted(self.removes)),
            quarantines=tuple(self.quarantines),
            changed=self.changed,
        )


async def rewrite(state: State, stage: PartStage, found: Findings) -> Rewritten:
    """Publishes what is left of the live files that hold rows of those who were found; others are not touched.

    Nothing is committed. Raises `StoreError`, and `DamagedPartError` for a damaged file.
    """
    done = Rewritten()
    # Turns leave with their conversations, of which they are made.
    holding = {path.replace(TURNS, CONVERSATIONS, 1) if path.startswith(f"{TURNS}/") else path for path in found.live}

    async def rewrite_one(path: str) -> None:
        file = state.live[path]
        if isinstance(file, QuarantineFile):
            await _rewrite_lines(file, stage, found.ids, done)
        elif isinstance(file, DataFile) and file.table == RECORDINGS:
            rest = await without_rows(stage, file, found.live[path].ids)
            _note(done, [file], [] if rest is None else [rest])
        elif isinstance(file, DataFile):
            look = found.live.get(path, Look())
            turns = found.live.get(turns_path(path), Look())
            rest_parts = await _rewrite_part(file, stage, look.ids | turns.ids, look.rows, changes)
            _note(done, [file, *state.turns_beside(file)], rest_parts)

    async with gathering(stage) as changes:
        await for_each(sorted(holding), rewrite_one, at_once=MERGED_AT_ONCE)
        done.changed = await changes.publish()
    return done


def _note(done: Rewritten, old: Collection[DataFile], new: Collection[DataFile]) -> None:
    done.removes.update(file.path for file in old)
    done.adds += new
    tables = {file.table for file in new}
    done.rewritten += len(tables)
    done.deleted += sum(file.table not in tables for file in old)


async def _rewrite_part(
    file: DataFile, stage: PartStage, ids: Collection[str], rows: int, changes: Changes
) -> tuple[DataFile, ...]:
    if rows >= file.rows:
        await changes.files_gone([file])
        return ()
    writer, plan = stage.new_part(), MergePlan(readings=(), dropped=frozenset(ids), dropped_rows=rows)
    try:
        async with as_written(stage.store, file, stage.working) as part:
            lost, _ = await to_thread.run_sync(merge, plan, part, writer, changes.gone, limiter=stage.working)
        finished = await to_thread.run_sync(writer.close, limiter=stage.working)
    except BaseException:
        writer.abort()
        raise
    absent, withheld = marks_by_nulls(file, lost, (), Nulls())
    return await stage.publish(finished.closed(file.partition, file.window, absent, withheld))


async def _rewrite_lines(file: QuarantineFile, stage: PartStage, ids: Collection[str], done: Rewritten) -> None:
    rest = [line for line in await read_lines(stage.store, file) if id_of(line) not in ids]
    done.removes.add(file.path)
    if rest:
        name = stage.next_name()
        done.quarantines.append(await write_lines(stage.store, name, rest, file.window, rest_of=file.path))


async def put_rest_aside(stage: PartStage, run: str, path: str, ids: Collection[str]) -> None:
    """Writes what a dropped file holds of others to where `run` puts dropped files aside: it may be nowhere else.

    The file itself stays. Raises `StoreError`.
    """
    was, store = undropped_path(path) or path, stage.store
    async with store.fetched(path) as there:
        if was.startswith(f"{QUARANTINE}/"):
            lines = await to_thread.run_sync(lines_in, there, path, store.location)
            if rest := [line for line in lines if id_of(line) not in ids]:
                await put_lines_aside(store, run, was, rest)
            return
        staged, table = store.staging_file(stage.next_name()), was.partition("/")[0]
        rows = await to_thread.run_sync(write_rest, there, staged, table, ID_COLUMNS[table], ids)
    if rows:
        await store.publish(staged, dropped_path(run, was))
