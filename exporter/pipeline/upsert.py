"""Merges what was read again into the parts that hold it: every part that changes is replaced, in one commit."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec
from anyio import to_thread

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.errors import AccessError
from exporter.log.state import State
from exporter.model import Change, DataFile
from exporter.parts.ids import ids_in
from exporter.parts.integrity import as_written, opened
from exporter.parts.merge import MergePlan, PartSequence, merge, plan_merge
from exporter.parts.nulls import count_values
from exporter.pipeline.changes import CHANGES_COLUMNS, MergeChanges, PartChanges, gathering
from exporter.pipeline.committer import Committer
from exporter.pipeline.compaction import MERGED_AT_ONCE
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.lookup import NOTHING_REPEATED, Repeated, find_ids, find_places, find_shown_elsewhere
from exporter.pipeline.marks import Marks, marks_by_nulls, marks_by_rows
from exporter.pipeline.part_columns import columns_of
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_merge import Quarantine
from exporter.pipeline.recording_cascade import follow, taken_times, touched_ids
from exporter.pipeline.spool_hydration import complete_spool
from exporter.pipeline.spool_sink import Spool, SpooledPart
from exporter.schedule.homes import Home
from exporter.tasks import for_each

_NOTHING: Final = Coverage()
#: This many rows do not all lose a field by chance.
_FEW: Final = 3


class UpsertCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts what a merge has done to the rows of the table. `removed` are those that left it, even for quarantine.

    `unchanged` are rows that were read again and are the same. `quarantined` are rows that fit no column, and are new
    or have changed. `rewritten` counts the parts that were replaced. `surplus` counts the rows that the table had
    several times before the run, beyond the first of each.
    """

    inserted: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    quarantined: int = 0
    rewritten: int = 0
    surplus: int = 0

    def inserted_by_run(self, rows_before: int, rows_after: int) -> int:
        """Returns the number of conversations that a run has added, of which this merge was one step."""
        return rows_after - (rows_before - self.surplus) + self.removed


async def merge_spool(
    spool: Spool,
    state: State,
    stage: PartStage,
    committer: Committer,
    *,
    gone: Mapping[Interval, Collection[str]],
    whole: Coverage = _NOTHING,
    repeated: Repeated = NOTHING_REPEATED,
    hydrator: Hydrator | None = None,
    all_again: bool = False,
) -> tuple[Change, UpsertCounts]:
    """Publishes the parts that replace those that change, and returns the change to commit.

    An id that arrives at a home that did not have it leaves the one that did. `gone` are ids to drop, by the interval
    of their home, which `spool` knows. `whole` is where `spool` has all existing rows, so that the marks of older ones
    leave with them. Of each `repeated` row, one copy in a part stays. Rows of recordings follow their conversations: so
    no other task may add any from here to the commit. Until then, and the deletion that follows it, rows are stored
    twice; `_SUCCESS` is removed before. The `hydrator` first completes the rows, with `all_again` also those that are
    stored as they are listed. Raises `StoreError`, and what `complete_spool` and `Spool.judge` raise.
    """
    if hydrator is not None:
        await complete_spool(spool, stage, hydrator, again=all_again)
    await spool.judge()
    quarantine = await Quarantine.load(state, stage)
    misfits = set[str]().union(*spool.misfit_ids.values())
    drops = {interval: {*ids} for interval, ids in gone.items()}
    for interval, ids in (await to_thread.run_sync(find_shown_elsewhere, spool, limiter=stage.working)).items():
        drops.setdefault(interval, set()).update(ids)
    plans: dict[Interval, MergePlan] = {}
    marks: dict[Interval, Marks] = {}

    async def plan(interval: Interval) -> None:
        drop = drops.get(interval, set()) | misfits
        home, spooled = spool.homes[interval], spool.parts.get(interval, [])
        readings, stays = _readings(spooled), {part.path for part in spooled if part.is_kept}
        async with _opened(home, stage, checked=False) as part:
            kept = [[path for path in paths if path in stays] for paths in readings]
            plans[interval] = found = await to_thread.run_sync(
                plan_merge, part, readings, drop, repeated.copies, kept, limiter=stage.working
            )
            # The marks of a row in several readings would count several times.
            if part is not None and len(readings) <= 1 and Coverage([interval]) & whole:
                marks[interval] = await marks_by_rows(home, part, found, spooled, stage)

    await for_each(list(spool.homes), plan, at_once=MERGED_AT_ONCE)
    arriving = set[str]().union(*(plan.arriving for plan in plans.values()))
    misplaced = misfits.difference(quarantine.ids(), *(plan.dropped for plan in plans.values()))
    left = await find_ids(stage.store, state.conversations, arriving | misplaced, stage.working)
    homes = spool.every if left else ()
    again = [home for home in homes if home.file is not None and home.file.path in left]
    for home in again:
        spool.homes[home.interval] = home
        if home.file is not None:
            drops.setdefault(home.interval, set()).update(left[home.file.path])
    await for_each([home.interval for home in again], plan, at_once=MERGED_AT_ONCE)

    await _refuse_loss(spool, plans, state, stage)
    ordered = sorted(plans.items())
    changing = [(spool.homes[interval], plan) for interval, plan in ordered if not plan.changes_nothing]
    if changing:
        await committer.unseal()

    # If rows came into a gap, the parts that reach into it cover only their own partitions from now on.
    gaps = [home.interval for home, plan in changing if home.file is None and plan.taken]
    narrowed = {home.interval: home for gap in gaps for home in spool.every.overlapping(gap)}
    adds: list[DataFile] = []

    staying = {
        name: copy.created_at
        for name, copies in repeated.copies.items()
        for copy in copies
        if copy.is_row and _stays(copy.created_at, name, plans, spool)
    }

    async with gathering(stage) as changes:
        told = MergeChanges(changes, plans.values())
        unknown = told.gone.difference(staying)
        places = await find_places(stage.store, state.conversations, unknown, spool.paths, stage.working)
        beside = {name: at for name, times in places.items() for at in times if _stays(at, name, plans, spool)}

        async def write(planned: tuple[Home, MergePlan]) -> None:
            home, plan = planned
            window = home.interval if home.file is None or home.interval in narrowed else home.file.window
            spooled, part = spool.parts.get(home.interval, []), told.of_part(plan)
            adds.extend(await _write(home, window, plan, spooled, stage, marks.get(home.interval), part))

        await for_each(changing, write, at_once=MERGED_AT_ONCE)
        await to_thread.run_sync(told.joined, staying | beside, limiter=stage.working)
        changed = await changes.publish()
    removed = {file.path for home, _ in changing for file in _files(home, state)}
    redeclared = dict(_redeclared(narrowed.values(), [spool.homes[interval] for interval in plans], marks, state))
    adds += [file for path, file in redeclared.items() if path not in removed]
    removed |= redeclared.keys()
    leaving = set[str]().union(*gone.values())
    if quarantine.lines:
        leaving |= await to_thread.run_sync(ids_in, spool.paths, quarantine.ids())
    leaving -= misfits
    lines_gone = {interval: quarantine.ids() & {*ids} for interval, ids in gone.items()}
    touched = touched_ids(spool, plans, lines_gone, misfits)
    followed = await follow(state, stage, touched, staying | taken_times(plans))
    lines = await quarantine.merge(spool, leaving, whole)
    change = Change(
        adds=(*sorted(adds, key=lambda file: (file.window, file.path)), *followed.adds),
        removes=(*sorted(removed), *followed.removes, *lines.removes),
        quarantines=tuple(lines.adds),
        changed=changed,
        unproven=tuple(spool.unproven),
        read_since=spool.read_since,
        organization=spool.guard.organization,
        hidden_status=spool.hidden_status,
    )
    return change, _outcome(changing, plans, repeated, staying, lines.fresh)


async def _refuse_loss(spool: Spool, plans: Mapping[Interval, MergePlan], state: State, stage: PartStage) -> None:
    """Raises `AccessError` if rows would lose a field because the API has begun to leave it out of its list (13).

    A row may lose a value, and an API may leave out what is null: then other rows come with the field. If none does, it
    takes a few rows that would lose it, or one if the API has never left the field out before.
    """
    left_out = spool.left_out()
    lost = Counter[str]()
    for interval, plan in plans.items() if left_out else ():
        async with _opened(spool.homes[interval], stage, checked=False) as part:
            if part is not None and (ids := plan.dropped & plan.taken.keys()):
                lost += await to_thread.run_sync(count_values, part, ids, sorted(left_out), limiter=stage.working)
    for name, rows in lost.items():
        is_new = not any(name in file.absent for file in state.conversations)
        if rows >= (1 if is_new else _FEW):
            raise AccessError(
                f"the API no longer serves `{name}`: none of the conversations that were read came with it, though "
                f"{rows} of them have it here. The existing export was not changed.\n"
                "Run again when it serves the field to this token. If it never will, export to another destination, "
                f"with --exclude-fields {name}"
            )


def _outcome(
    changing: Collection[tuple[Home, MergePlan]],
    plans: Mapping[Interval, MergePlan],
    repeated: Repeated,
    staying: Collection[str],
    fresh: int,
) -> UpsertCounts:
    """Counts the merge. A row that has moved to another place counts as updated, unless it was stored at both places
    before the run. One of several rows with each id in `staying` stays. `fresh` rows went to quarantine."""
    arrived = set[str]().union(*(plan.arriving for plan in plans.values()))
    left = set[str]().union(*(plan.left for plan in plans.values()))
    moved = left & arrived
    joined = (left - arrived).intersection(staying)
    changed = moved.union(*(plan.updated for plan in plans.values())) | (joined - repeated.surplus.keys())
    return UpsertCounts(
        inserted=len(arrived - moved),
        updated=len(changed),
        removed=len(left - moved - joined),
        unchanged=sum(plan.unchanged for plan in plans.values()),
        quarantined=fresh,
        rewritten=sum(home.file is not None for home, _ in changing),
        surplus=sum(repeated.surplus.values()),
    )


def _stays(created_at: Instant, identity: str, plans: Mapping[Interval, MergePlan], spool: Spool) -> bool:
    """Returns whether one of several rows with an id stays where it is."""
    plan = plans.get(spool.every.of(created_at).interval)
    return plan is None or identity not in plan.left


@asynccontextmanager
async def _opened(home: Home, stage: PartStage, *, checked: bool) -> AsyncIterator[Path | None]:
    """Yields the part of a home, or None; `checked` makes sure that its bytes are those that were written."""
    if home.file is None:
        yield None
        return
    opening = as_written(stage.store, home.file, stage.working) if checked else opened(stage.store, home.file)
    async with opening as part:
        yield part


def _files(home: Home, state: State) -> list[DataFile]:
    """Returns the parts of a home, one for each table."""
    return [] if home.file is None else [home.file, *state.turns_beside(home.file)]


def _readings(spooled: Iterable[SpooledPart]) -> list[PartSequence]:
    ordered = sorted(spooled, key=lambda part: (part.reading, -part.newest))
    return [[part.path for part in parts] for _, parts in groupby(ordered, attrgetter("reading"))]


async def _write(
    home: Home,
    window: Interval,
    plan: MergePlan,
    spooled: list[SpooledPart],
    stage: PartStage,
    marks: Marks | None,
    told: PartChanges,
) -> tuple[DataFile, ...]:
    """Writes the part that replaces a home's, and the part of its turns; nothing if no row is left."""
    old = home.file
    if old is not None and not plan.taken and plan.dropped_rows == old.rows:
        async with columns_of(stage.store, old, CHANGES_COLUMNS) as part:
            await to_thread.run_sync(told.all_dropped, part, limiter=stage.working)
        return ()
    writer = stage.new_part()
    try:
        async with _opened(home, stage, checked=True) as part:
            merging = partial(merge, plan, part, writer, told.dropped)
            lost, gained = await to_thread.run_sync(merging, limiter=stage.working)
        await to_thread.run_sync(told.came, limiter=stage.working)
        finished = await to_thread.run_sync(writer.close, limiter=stage.working)
    except BaseException:
        writer.abort()
        raise
    absent, withheld = marks or marks_by_nulls(old, lost, spooled, gained)
    return await stage.publish(finished.closed(home.partition, window, absent, withheld))


def _redeclared(
    narrowed: Iterable[Home], planned: Iterable[Home], marks: Mapping[Interval, Marks], state: State
) -> Iterator[tuple[str, DataFile]]:
    """Yields, by path, the parts whose rows stay the same, but whose window or marks change."""
    windows = {home.interval: home for home in narrowed}
    for home in (*windows.values(), *(home for home in planned if home.interval not in windows)):
        for file in _files(home, state):
            changed = file
            if home.interval in windows:
                changed = msgspec.structs.replace(changed, window=home.interval)
            if home.file is file and home.interval in marks:
                absent, withheld = marks[home.interval]
                changed = msgspec.structs.replace(changed, absent=dict(absent), withheld_rows=withheld)
            if changed != file:
                yield file.path, changed
