"""Repairs what an audit has found: reads whole rows where something differs, and confirms deletions by the API."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec
from anyio import to_thread

from exporter.clock import wall_clock
from exporter.contract import SECOND
from exporter.coverage import Coverage, Interval
from exporter.errors import ContradictionError, DestinationError
from exporter.jobs.audit_comparison import Plan
from exporter.log.state import State
from exporter.model import Change, Unproven
from exporter.parts.ids import ids_in
from exporter.pipeline.comparison import Differences
from exporter.pipeline.reader import Reader
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import UpsertCounts, merge_spool
from exporter.run.claim import Claim
from exporter.run.connect import connected, mention_withheld
from exporter.run.context import RunContext
from exporter.run.finish import is_in_order, put_in_order, seal
from exporter.run.record import Run
from exporter.run.session import Session
from exporter.schedule.clock import Now
from exporter.tasks import for_each


async def confirm_deletions(findings: Differences, lister: Reader, at_once: int) -> dict[Interval, set[str]]:
    """Keeps only the deletions in `findings` that the API confirms by 404, and returns the others, by home.

    Raises `DestinationError` and `ContradictionError` if 404 would prove nothing.
    """
    unlisted: dict[Interval, set[str]] = {}
    if not any(findings.deleted.values()):
        return unlisted
    if findings.witness is None:
        raise DestinationError(
            "the API lists none of the stored conversations. Is it the same organization and address? "
            "Nothing was deleted; if it is, take a wider range"
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
    """Mends under the lock what `findings` say differs in the windows of `plan`.

    `now` is the time to go by. `proves` is what is no longer in doubt.
    """

    plan: Plan
    claim: Claim
    findings: Differences
    now: Now
    proves: Coverage
    run: Run
    context: RunContext
    lister: Reader

    async def apply(self, *, delete: bool) -> UpsertCounts:
        """Reads again and merges. Afterwards, the findings' `deleted` are those that are left."""
        plan, findings = self.plan, self.findings
        windows = Coverage(findings.reread)
        if not windows and not (delete and any(findings.deleted.values())):
            if self.proves:
                proven = Change(proves=self.proves.intervals)
                await self.claim.log.append(committed_at=wall_clock(), kind="repair", change=proven)
            await self._put_in_order()
            return UpsertCounts()
        range_ = plan.state.range or plan.windows[0]
        async with connected(
            plan.request, plan.state, range_.end, self.context, self.run, now=self.now, beside=self.lister
        ) as connection:
            await mention_withheld(self.claim, connection)
            session = await Session.start(self.claim, connection, range_, refuses_withheld=True)
            spool = Spool(plan.homes, session.guard)
            await session.read(windows, SpoolSink(session.stage, spool, reading=1), oldest=plan.state.oldest_row)
            gone = await drop_from(findings, spool, delete=delete)
            change, outcome = await merge_spool(
                spool,
                session.log.state,
                session.stage,
                session.committer,
                gone=gone,
                whole=windows,
                hydrator=session.hydrator,
            )
            change = msgspec.structs.replace(change, proves=self.proves.intervals)
            if change.adds or change.removes or change.quarantines or change.proves:
                await session.committer.commit(change, session.spent, kind="repair")
            await session.committer.sweep()  # what was put aside
            await seal(session.log, session.stage, session.committer, self.context.observer, goes_on=True)
            return outcome

    async def _put_in_order(self) -> None:
        """Seals the export if an earlier run was killed before it could."""
        context = self.context
        if not await is_in_order(self.plan.store, self.claim.log.state):
            await put_in_order(self.claim, context.settings, context.observer, context.clock, keys=context.keys)


async def drop_from(findings: Differences, spool: Spool, *, delete: bool) -> dict[Interval, Collection[str]]:
    """Returns the ids to drop, by home: those that are elsewhere now and, with `delete`, those that are gone.

    The findings keep the rest.
    """
    deleted, moved = findings.deleted, findings.moved
    missed = set[str]().union(*deleted.values(), *moved.values())
    read_again = await to_thread.run_sync(ids_in, spool.paths, missed)
    read_again |= missed & set[str]().union(*spool.misfit_ids.values())
    gone: dict[Interval, Collection[str]] = {}
    for interval in {*deleted, *moved}:
        left = [ids for ids in (deleted.get(interval), moved.get(interval)) if ids]
        # A later walk has shown these ids in their old home.
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
    """Returns the times in doubt that a whole reading of `read` has proven, except around its own `doubts`: a time that
    is served less exactly now may stand for several."""
    around = (Interval(one.interval.start - SECOND, one.interval.end + SECOND) for one in doubts)
    proven = read - Coverage(around)
    doubted = (Coverage([doubt.interval]) & state.coverage for doubt in state.unproven)
    return Coverage(interval for coverage in doubted if not coverage - proven for interval in coverage)
