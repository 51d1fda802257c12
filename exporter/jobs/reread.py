"""`exporter reread`: reads intervals again, and puts what comes in place of all that was there, by one commit.

The cure where a sync has nothing to go by: rows that came without what the token sees now, times that were in doubt,
and what a repair has dropped. In this order, so that a run which is killed anywhere repeats without harm: what is not
there is read and committed as by an export; then the rest is read, put aside, and held against what is there. A row
that is there and was not listed leaves when the API answers 404 to its id, and stays otherwise.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec

from exporter.contract import BEGINNING, SECOND
from exporter.errors import AccessError, ContradictionError, DestinationError, UsageError
from exporter.jobs.audit_repair import confirm_deletions, drop_from
from exporter.jobs.summary import Summary, summarize
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.model import Counters, Coverage, Interval
from exporter.pipeline.comparison import Comparison, Differences
from exporter.pipeline.probe import Opening
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import sees
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import UpsertCounts, merge_spool
from exporter.plan.homes import Homes
from exporter.progress import Observer
from exporter.run.claim import holding
from exporter.run.clocks import take_back
from exporter.run.finish import seal
from exporter.run.reconcile import has_sensitive_fields, settle_request
from exporter.run.record import Run, recorded
from exporter.run.repeats import Doubts, settle
from exporter.run.session import Session, ask_first, connected, find_sighted
from exporter.settings import Credentials, Request, RunSettings, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store

#: Where most of what is there is not listed any more, so many ids tell whether it was deleted.
_LOOKED_UP: Final = 20


class RereadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a destination holds, and what the run has changed, in rows of the table; `rewritten` counts files.

    `intervals`: what was read. `kept`: rows that are not listed any more, and whose ids the API did not answer 404 to.
    """

    summary: Summary
    intervals: tuple[Interval, ...]
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    rewritten: int = 0
    kept: int = 0

    @property
    def exit_status(self) -> int:
        return self.summary.exit_status or (3 if self.kept else 0)


async def reread(
    destination: Location,
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    *,
    withheld: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> RereadResult:
    """Reads again what lies in the range of the export and between the bounds of `asked`; with `withheld`, of that
    only where rows came without sensitive fields.

    Raises `ExporterError` as `jobs.export.export`: `DestinationError` where there is no export, or another one,
    `UsageError` for bounds with nothing of it between them, `AccessError` for a token that sees fewer fields than the
    rows have, or with `withheld` no more than they have.
    """
    async with open_store(destination) as store:
        # Before there is a lock, which would be made where no export is.
        request, range_ = _known(store, await load_state(store), asked)
        bounds = _bounds(range_, asked)

        async def work(run: Run) -> RereadResult:
            async with holding(store, run) as held:
                before = held.log.state
                if not choose_target(before, bounds, withheld=withheld):
                    return RereadResult(summary=summarize(destination, before, before, Counters()), intervals=())
                async with connected(
                    settings, credentials, request.filters, request.fields, observer, clock, tables=request.tables
                ) as reader:
                    run.spent = lambda: reader.counters
                    opening = await ask_first(reader, before, request, range_.end, settings, observer)
                    await take_back(held.log, opening.now, settings.lag_seconds * SECOND, observer)
                    before = held.log.state
                    if withheld:
                        await _check_role(store, before, reader, opening)
                    session = await Session.begin(
                        store,
                        held,
                        request,
                        before.range or range_,
                        reader,
                        opening,
                        settings,
                        observer,
                        clock,
                        refuses_withheld=has_sensitive_fields(before),
                    )
                    return await _reread(session, before, choose_target(before, bounds, withheld=withheld))

        return await recorded(store, "reread", work)


def choose_target(state: State, bounds: Interval, *, withheld: bool) -> Coverage:
    """What to read again. With `withheld` these are whole windows: which of their rows lack fields is not known."""
    target = Coverage([bounds]) & Coverage([state.range] if state.range else ())
    if not withheld:
        return target
    return target & Coverage(file.window for file in state.conversations if file.withheld_rows)


def _known(store: Store, state: State, asked: Selection) -> tuple[Request, Interval]:
    if state.range is None:
        raise DestinationError(f"{store.location}: no export here")
    return settle_request(state, asked, store.location), state.range


def _bounds(range_: Interval, asked: Selection) -> Interval:
    start = max(range_.start, BEGINNING if asked.since is None else asked.since)
    end = range_.end if asked.until is None else min(range_.end, asked.until)
    if start >= end:
        raise UsageError("nothing to read again: the range of the export has nothing between --since and --until")
    return Interval(start, end)


async def _check_role(store: Store, before: State, reader: Reader, opening: Opening) -> None:
    if await sees(reader.fields_of, opening.newest_ids):
        return
    if not await sees(reader.fields_of, await find_sighted(store, before)):
        raise AccessError(
            "this token sees no sensitive fields: conversations that were asked for by their ids came without any. "
            "Nothing was changed; run again with a token that has conversations:read_sensitive"
        )


async def _reread(session: Session, before: State, target: Coverage) -> RereadResult:
    stage, committer = session.stage, session.committer
    await session.read(target - before.coverage)
    state, again = session.log.state, target & before.coverage
    outcome, kept = UpsertCounts(), dict[Interval, set[str]]()
    if not again:
        await settle(session, before)
    else:
        homes = Homes(state.conversations, state.coverage, stage.tables.place)
        spool = Spool(homes, session.guard)
        doubts = await Doubts.find(session, before, homes)
        whole = again | doubts.windows
        oldest = min((file.created_at_min for file in state.conversations), default=None)
        await session.read(whole, SpoolSink(stage, spool, reading=1), oldest=oldest)
        lag = session.settings.lag_seconds * SECOND
        findings = await Comparison(
            stage.store, state, spool, stage.store, again.intervals, lag=lag, remembers=True
        ).run()
        gone = await drop_from(findings, spool, delete=False)
        kept = await _keep_what_is_known(findings, session)
        for interval, ids in (await drop_from(findings, spool, delete=True)).items():
            gone[interval] = {*gone.get(interval, ()), *ids}
        for interval, ids in (await doubts.strays(spool, homes)).items():
            gone[interval] = {*gone.get(interval, ()), *ids}
        # What was kept is not known to be up to date: it may have ceased to match the filters.
        refreshes = again - Coverage(kept)
        change, outcome = await merge_spool(
            spool, state, stage, committer, gone=gone, whole=whole, repeated=doubts.repeated.keys()
        )
        change = msgspec.structs.replace(change, refreshes=refreshes.intervals, proves=again.intervals, settles=True)
        await committer.commit(change, session.spent, kind="reread")
        await committer.sweep()  # what was put aside
    await seal(session.log, stage, committer, session.observer, goes_on=True)
    after = session.log.state
    summary = summarize(stage.store.location, before, after, session.spent)
    return RereadResult(
        summary=summary,
        intervals=target.intervals,
        inserted=summary.rows - sum(file.rows for file in before.conversations) + outcome.removed,
        updated=outcome.updated,
        removed=outcome.removed,
        unchanged=outcome.unchanged,
        rewritten=outcome.rewritten,
        kept=sum(map(len, kept.values())),
    )


async def _keep_what_is_known(findings: Differences, session: Session) -> dict[Interval, set[str]]:
    """Leaves those rows in the findings' `deleted` that the API answers 404 for, and returns the others, by home.

    Raises as `confirm_deletions`, and `ContradictionError` where most rows are not listed any more and can be had.
    """
    reader, at_once = session.reader, session.settings.concurrency
    unlisted = [identity for ids in findings.deleted.values() for identity in ids]
    if 2 * len(unlisted) > findings.total("kept"):
        for identity in unlisted[:_LOOKED_UP]:
            if await reader.knows(identity):
                raise ContradictionError(
                    "the API lists less than half of the conversations that are there, and has others by their ids. "
                    "Does it read the filters in another way now, or does this token see less? Nothing was changed"
                )
    if findings.witness is not None and unlisted and not await reader.knows(findings.witness):
        # Where the API answers 404 to what it lists, 404 tells nothing.
        kept, findings.deleted = findings.deleted, {}
        return kept
    return await confirm_deletions(findings, reader, at_once)
