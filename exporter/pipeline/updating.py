"""What was read again, merged into the parts that hold it: every part that changes is replaced, in one commit."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import msgspec
from anyio import to_thread

from exporter.model import Change, Coverage, DataFile, Interval, QuarantineFile
from exporter.pipeline.committing import Committer
from exporter.pipeline.merging import MERGED_AT_ONCE
from exporter.pipeline.spooling import Spool, Spooled, digest
from exporter.pipeline.tasks import for_each
from exporter.pipeline.writing import PartsFactory
from exporter.plan.homes import Home, Homes
from exporter.store.integrity import as_written, opened, read_as_written
from exporter.store.merge import MergePlan, Nulls, Reading, ids_in, merge, plan_merge
from exporter.store.quarantine import id_of, write_lines
from exporter.store.state import State


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge has come to, in rows of the table: `removed` are those that left it, for quarantine too.

    `unchanged`: rows that were read again, and are as they were. `quarantined`: rows that fit no column, and were not
    known as they are. `rewritten`: how many parts were replaced.
    """

    inserted: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    quarantined: int = 0
    rewritten: int = 0


@dataclass(slots=True)
class _Work:
    """The plans, and what has been written so far."""

    plans: list[tuple[Home, MergePlan, list[Spooled]]] = field(default_factory=list)
    adds: list[DataFile] = field(default_factory=list)


async def merge_spool(
    spool: Spool,
    state: State,
    homes: Homes,
    parts: PartsFactory,
    committer: Committer,
    *,
    gone: Mapping[Interval, Collection[str]],
    refreshes: Coverage,
    overruled: Collection[str] = (),
) -> tuple[Change, Outcome]:
    """Publishes what takes the place of the parts that change, and returns what is to be committed.

    `gone`: ids to drop, by the interval of their home, which `spool` knows. `overruled`: as of `plan_merge`. Until
    the commit, and the deletion that follows it, rows lie there twice; `_SUCCESS` is taken away before. Raises
    `StoreError`.
    """
    work = _Work()

    async def plan(interval: Interval) -> None:
        home, spooled = spool.homes[interval], spool.parts.get(interval, [])
        drop = {*gone.get(interval, ()), *spool.misfit_ids.get(interval, ())}
        async with _opened(home, parts, checked=False) as part:
            readings = _readings(spooled)
            plan = await to_thread.run_sync(plan_merge, part, readings, drop, overruled, limiter=parts.working)
        work.plans.append((home, plan, spooled))

    await for_each(spool.homes, plan, at_once=MERGED_AT_ONCE)
    work.plans.sort(key=lambda planned: planned[0].interval)
    changing = [planned for planned in work.plans if not planned[1].changes_nothing]
    if changing:
        await committer.unseal()

    # Where rows came into a gap, parts speak for their own partitions alone from now on.
    gaps = [home.interval for home, plan, _ in changing if home.file is None and plan.taken]
    narrowed = {home.interval: home for gap in gaps for home in homes.overlapping(gap)}

    async def write(planned: tuple[Home, MergePlan, list[Spooled]]) -> None:
        home, plan, spooled = planned
        window = home.interval if home.file is None or home.interval in narrowed else home.file.window
        work.adds += await _write(home, window, plan, spooled, parts)

    await for_each(changing, write, at_once=MERGED_AT_ONCE)
    removed = {file.path for home, _, _ in changing for file in _files(home, state)}
    for home in narrowed.values():
        for file in _files(home, state):
            if file.path not in removed:
                work.adds.append(msgspec.structs.replace(file, window=home.interval))
                removed.add(file.path)
    quarantine = await _merge_quarantine(spool, state, parts, gone)
    change = Change(
        refreshes=refreshes.intervals,
        adds=tuple(sorted(work.adds, key=lambda file: (file.window, file.path))),
        removes=(*sorted(removed), *quarantine.removes),
        quarantines=tuple(quarantine.adds),
        unproven=tuple(spool.unproven),
        read_since=spool.read_since,
        organization=parts.organization,
        hidden_status=parts.hidden_status,
    )
    plans = [plan for _, plan, _ in work.plans]
    return change, Outcome(
        inserted=sum(plan.inserted for plan in plans),
        updated=sum(plan.updated for plan in plans),
        removed=sum(plan.removed for plan in plans),
        unchanged=sum(plan.unchanged for plan in plans),
        quarantined=quarantine.fresh,
        rewritten=sum(home.file is not None for home, _, _ in changing),
    )


@asynccontextmanager
async def _opened(home: Home, parts: PartsFactory, *, checked: bool) -> AsyncIterator[Path | None]:
    """The part of a home, if it has one. `checked`: its bytes are those that were written."""
    if home.file is None:
        yield None
        return
    opening = as_written(parts.store, home.file, parts.working) if checked else opened(parts.store, home.file)
    async with opening as part:
        yield part


def _files(home: Home, state: State) -> list[DataFile]:
    """The parts that a home has, of each table."""
    return [] if home.file is None else [home.file, *state.turns_beside(home.file)]


def _readings(spooled: Iterable[Spooled]) -> list[Reading]:
    def number(part: Spooled) -> int:
        return part.reading

    ordered = sorted(spooled, key=lambda part: (part.reading, -part.newest))
    return [[part.path for part in parts] for _, parts in groupby(ordered, number)]


async def _write(
    home: Home, window: Interval, plan: MergePlan, spooled: list[Spooled], parts: PartsFactory
) -> tuple[DataFile, ...]:
    """What takes the place of a home's part, and of that of its turns; nothing when no row is left."""
    old = home.file
    if old is not None and not plan.taken and len(plan.dropped) == old.rows:
        return ()
    writer = parts.new_part()
    try:
        async with _opened(home, parts, checked=True) as part:
            lost, gained = await to_thread.run_sync(merge, plan, part, writer, limiter=parts.working)
        finished = await to_thread.run_sync(writer.close, limiter=parts.working)
    except BaseException:
        writer.abort()
        raise
    absent, withheld = _still_absent(old, lost, spooled, gained)
    return await parts.publish(finished.closed(home.partition, window, absent, withheld))


def _still_absent(
    old: DataFile | None, lost: Nulls, spooled: Iterable[Spooled], gained: Nulls
) -> tuple[Mapping[str, int], int]:
    """How many rows were served without a field, by field, and without any sensitive one.

    Which of a part's rows they were is not known. A row where the field is null is taken for one of them, as long as
    there are any: exact where all or none of the rows lack the field, and never more than there are nulls.
    """
    absent = Counter(old.absent if old else {})
    for name, count in absent.items():
        absent[name] = count - min(count, lost.by_column[name])
    withheld = old.withheld_rows - min(old.withheld_rows, lost.withheld_rows) if old else 0
    served_without = Counter[str]()
    for part in spooled:
        served_without.update(part.absent)
    for name, count in served_without.items():
        absent[name] += min(count, gained.by_column[name])
    return absent, withheld + min(sum(part.withheld_rows for part in spooled), gained.withheld_rows)


@dataclass(slots=True)
class _Quarantine:
    """What a commit does to the quarantine. `fresh`: rows that were not known as they are."""

    removes: list[str] = field(default_factory=list)
    adds: list[QuarantineFile] = field(default_factory=list)
    fresh: int = 0


async def _merge_quarantine(
    spool: Spool, state: State, parts: PartsFactory, gone: Mapping[Interval, Collection[str]]
) -> _Quarantine:
    """New misfits take the place of older ones with their ids; rows that fit now, or are gone, leave."""
    result = _Quarantine()
    there: dict[str, list[bytes]] = {}
    for path in sorted(state.quarantine):
        there[path] = await _lines_of(state.quarantine[path], parts)
    known = {id_of(line): digest(line) for lines in there.values() for line in lines}
    leaving = set[str]().union(*gone.values())
    if there:
        leaving |= await to_thread.run_sync(ids_in, [part.path for home in spool.parts.values() for part in home])
    read_later = set[str]()
    for file, lines in reversed(spool.misfits):
        fresh = {identity for identity, line in lines.items() if known.get(identity) != line} - read_later
        if not fresh:
            await parts.store.delete(file.path)
        elif lines.keys() & read_later:
            result.adds.append(await _without(file, read_later, parts))
        else:
            result.adds.append(file)
        if fresh:
            result.fresh += len(fresh)
            leaving |= lines.keys()
        read_later |= lines.keys()
    for path, lines_there in there.items():
        rest = [line for line in lines_there if id_of(line) not in leaving]
        if len(rest) < len(lines_there):
            result.removes.append(path)
            if rest:
                window = state.quarantine[path].window
                result.adds.append(await write_lines(parts.store, parts.next_name(), rest, window))
    return result


async def _without(file: QuarantineFile, ids: Collection[str], parts: PartsFactory) -> QuarantineFile:
    """The lines of a file that was put aside, but for those of `ids`, in one that takes its place."""
    rest = [line for line in await _lines_of(file, parts) if id_of(line) not in ids]
    await parts.store.delete(file.path)
    return await write_lines(parts.store, parts.next_name(), rest, file.window)


async def _lines_of(file: QuarantineFile, parts: PartsFactory) -> list[bytes]:
    return (await read_as_written(parts.store, file)).splitlines(keepends=True)
