"""The repair of an audit: whole rows where something differs, and deletions that the API confirms."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import msgspec
from anyio import to_thread

from exporter.contract import SECOND
from exporter.errors import ContradictionError, DestinationError
from exporter.jobs.audit_comparison import Plan
from exporter.log.state import State
from exporter.model import Change, Counters, Coverage, Interval, Unproven
from exporter.parts.ids import ids_in
from exporter.pipeline.comparison import Differences
from exporter.pipeline.reader import Reader, wall_clock
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import UpsertCounts, merge_spool
from exporter.plan.clock import Now
from exporter.progress import Observer
from exporter.run.claim import Claim
from exporter.run.finish import is_in_order, put_in_order, seal
from exporter.run.reconcile import has_sensitive_fields
from exporter.run.session import Session, ask_first, connected, mention_withheld
from exporter.settings import Credentials, RunSettings
from exporter.tasks import for_each


async def confirm_deletions(findings: Differences, lister: Reader, at_once: int) -> dict[Interval, set[str]]:
    """Leaves those deletions in `findings` that the API confirms by 404, and returns the others, by home.

    Raises `DestinationError` and `ContradictionError` where 404 would prove nothing.
    """
    unlisted: dict[Interval, set[str]] = {}
    if not any(findings.deleted.values()):
        return unlisted
    if findings.witness is None:
        raise DestinationError(
            "the API lists not one of the conversations that are there. Is it the same organization and address? "
            "Nothing was deleted; if they are, take a wider range"
        )
    if not await lister.knows(findings.witness):
        raise ContradictionError(
            "the API answers 404 to the id of a conversation that it lists, so that 404 does not tell what was "
            "deleted. Nothing was changed; run again without --delete"
        )

    async def confirm(found: tuple[Interval, str]) -> None:
        interval, identity = found
        if await lister.knows(identity):
            findings.deleted[interval].discard(identity)
            unlisted.setdefault(interval, set()).add(identity)

    found = [(interval, identity) for interval, ids in findings.deleted.items() for identity in ids]
    await for_each(found, confirm, at_once=at_once)
    return unlisted


@dataclass(frozen=True, slots=True)
class Repair:
    """What `findings` say differs from `plan`, to be mended under the lock. `now`: the time to go by. `proves`: what is
    in doubt no more."""

    plan: Plan
    held: Claim
    findings: Differences
    now: Now
    proves: Coverage
    settings: RunSettings
    credentials: Credentials
    observer: Observer
    clock: Callable[[], float]

    async def run(self, *, delete: bool) -> tuple[UpsertCounts, Counters]:
        """Reads again and merges. Afterwards the findings' `deleted` are those that are left."""
        plan, findings, settings = self.plan, self.findings, self.settings
        windows = Coverage(findings.reread)
        request = plan.request
        if not windows and not (delete and any(findings.deleted.values())):
            if self.proves:
                proven = Change(proves=self.proves.intervals)
                await self.held.log.append(committed_at=wall_clock(), kind="repair", change=proven)
            await self._put_in_order()
            return UpsertCounts(), Counters()
        async with connected(
            settings,
            self.credentials,
            request.filters,
            request.fields,
            self.observer,
            self.clock,
            tables=request.tables,
        ) as reader:
            reader.now = self.now
            before = plan.state
            range_ = before.range or plan.windows[0]
            opening = await ask_first(reader, before, request, range_.end, settings, self.observer)
            await mention_withheld(plan.store, before, opening, reader, self.observer)
            session = await Session.begin(
                plan.store,
                self.held,
                request,
                range_,
                reader,
                opening,
                settings,
                self.observer,
                self.clock,
                refuses_withheld=has_sensitive_fields(before),
            )
            spool = Spool(plan.homes, session.guard)
            await session.read(windows, SpoolSink(session.stage, spool, reading=1), oldest=plan.oldest)
            gone = await drop_from(findings, spool, delete=delete)
            change, outcome = await merge_spool(
                spool, session.log.state, session.stage, session.committer, gone=gone, whole=windows
            )
            change = msgspec.structs.replace(change, proves=self.proves.intervals)
            if change.adds or change.removes or change.quarantines or change.proves:
                await session.committer.commit(change, session.spent, kind="repair")
            await session.committer.sweep()  # what was put aside
            await seal(session.log, session.stage, session.committer, self.observer, goes_on=True)
            return outcome, session.spent

    async def _put_in_order(self) -> None:
        """For what a run that did not live to seal it has left."""
        plan, settings = self.plan, self.settings
        if await is_in_order(plan.store, self.held.log.state):
            return
        await put_in_order(
            plan.store,
            self.held,
            self.observer,
            self.clock,
            target_bytes=settings.target_part_bytes,
            memory_bytes=settings.memory_bytes,
            open_windows=settings.concurrency,
        )


async def drop_from(findings: Differences, spool: Spool, *, delete: bool) -> dict[Interval, Collection[str]]:
    """What is to be dropped, by home: what lies elsewhere now and, to `delete`, what is gone. The findings keep the
    rest."""
    deleted, moved = findings.deleted, findings.moved
    missed = set[str]().union(*deleted.values(), *moved.values())
    read_again = await to_thread.run_sync(ids_in, spool.paths, missed)
    read_again |= missed & set[str]().union(*spool.misfit_ids.values())
    gone: dict[Interval, Collection[str]] = {}
    for interval in {*deleted, *moved}:
        left = [ids for ids in (deleted.get(interval), moved.get(interval)) if ids]
        # Another run of the walk has shown it, where it is.
        back = await to_thread.run_sync(ids_in, [part.path for part in spool.parts.get(interval, ())], missed)
        back |= spool.misfit_ids.get(interval, set())
        drop = (set[str]().union(*left) & read_again | (deleted.get(interval, set()) if delete else set())) - back
        if drop:
            gone[interval] = drop
            spool.homes[interval] = findings.homes[interval]
        for ids in left:
            ids -= drop | back
    return gone


def lifted_doubts(state: State, read: Coverage, doubts: Iterable[Unproven]) -> Coverage:
    """Of the times that are in doubt, those that a whole reading of `read` has proven, except where `doubts` are its
    own: a time that is served less exactly now may stand for several."""
    around = (Interval(one.interval.start - SECOND, one.interval.end + SECOND) for one in doubts)
    proven = read - Coverage(around)
    doubted = (Coverage([doubt.interval]) & state.coverage for doubt in state.unproven)
    return Coverage(interval for coverage in doubted if not coverage - proven for interval in coverage)
