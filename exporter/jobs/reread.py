"""`exporter reread` reads intervals again, and replaces everything that was stored of them by one commit.

It helps where a sync has nothing to go by: rows that came without what the token sees now, times that were in doubt,
and what a repair has dropped. Its order lets a run that is killed anywhere repeat without harm: what is missing is read
and committed as by an export; then the rest is read, put aside, and compared with what is stored. A stored row that was
not listed leaves if the API answers 404 to its id, and stays otherwise.
"""

from typing import Final

import msgspec

from exporter.coverage import Coverage, Interval, Period
from exporter.errors import AccessError, ContradictionError, UsageError
from exporter.jobs.audit_repair import confirm_deletions, drop_from
from exporter.jobs.summary import Summary, summarize
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.model import Counters
from exporter.pipeline.comparison import Comparison, Differences
from exporter.pipeline.role import sees
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import UpsertCounts, merge_spool
from exporter.run.claim import holding
from exporter.run.connect import Connection, connected
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher
from exporter.run.finish import seal
from exporter.run.protection import settle_policy
from exporter.run.reconcile import between, in_stored_zone, missed_by, settle_request, stored_export
from exporter.run.record import Run, recorded
from exporter.run.repeats import Doubts, settle
from exporter.run.session import Session, begin
from exporter.run.sighted import find_sighted
from exporter.settings import Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store

#: If most stored rows are no longer listed, this many of their ids tell whether they were deleted.
_LOOKED_UP: Final = 20


class RereadResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what a destination holds, and what the run has changed, in rows of the table; `rewritten` counts files.

    `intervals` are those that were read. `kept` counts rows that are no longer listed, although the API did not answer
    404 to their ids.
    """

    summary: Summary
    intervals: tuple[Period, ...]
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
    destination: Location, asked: Selection, context: RunContext, *, withheld: bool = False
) -> RereadResult:
    """Reads again what lies in the range of the export and between the bounds of `asked`; with `withheld`, only where
    rows came without sensitive fields.

    Raises the errors of `jobs.export.export`: `DestinationError` if there is no export, or another one, `UsageError` if
    nothing of it lies between the bounds, `AccessError` for a token that sees fewer fields than the rows have, or with
    `withheld` no more than they have.
    """
    async with open_store(destination) as store:
        # This comes before the lock, which would be made even if there is no export.
        found = await load_state(store)
        _, range_ = stored_export(found, destination)
        asked = in_stored_zone(found, asked)
        settle_policy(found, asked, destination, context.keys)
        request, bounds = settle_request(found, asked, destination), between(range_, asked)
        if not bounds:
            raise UsageError(f"nothing to read again: {destination} {missed_by(range_, asked)}")
        # The export keeps its range and its tables.
        rest = msgspec.structs.replace(asked, since=None, until=None, table_format=None)

        async def work(run: Run) -> RereadResult:
            async with holding(store, run, find_cipher(context.keys, destination, asked)) as claim:
                before = claim.log.state
                if not choose_target(before, bounds, withheld=withheld):
                    return RereadResult(summary=summarize(destination, before, before, Counters()), intervals=())
                async with connected(request, before, range_.end, context, run) as connection:
                    if withheld:
                        await _check_role(store, connection)
                    session = await begin(claim, connection, rest, connection.latest, refuses_withheld=True)
                    return await _reread(session, choose_target(session.before, bounds, withheld=withheld))

        return await recorded(store, "reread", work)


def choose_target(state: State, bounds: Coverage, *, withheld: bool) -> Coverage:
    """Returns what to read again. With `withheld`, these are whole windows, because only they are known to have rows
    without fields."""
    target = bounds & Coverage([state.range] if state.range else ())
    if not withheld:
        return target
    return target & Coverage(file.window for file in state.conversations if file.withheld_rows)


async def _check_role(store: Store, connection: Connection) -> None:
    """Raises `AccessError` for a token that sees no sensitive fields."""
    look, listed = connection.reader.fields_of, connection.opening.newest_ids
    if not await sees(look, listed) and not await sees(look, await find_sighted(store, connection.known)):
        raise AccessError(
            "this token sees no sensitive fields: conversations that were asked for by their ids came without any. "
            "Nothing was changed; run again with a token that has conversations:read_sensitive"
        )


async def _reread(session: Session, target: Coverage) -> RereadResult:
    before, stage, committer = session.before, session.stage, session.committer
    await session.read(target - before.coverage)
    state, again = session.log.state, target & before.coverage
    outcome, kept = UpsertCounts(), dict[Interval, set[str]]()
    if not again:
        await settle(session)
    else:
        homes = session.homes()
        spool = Spool(homes, session.guard)
        doubts = await Doubts.find(session, homes)
        whole = again | doubts.windows
        await session.read(whole, SpoolSink(stage, spool, reading=1), oldest=state.oldest_row)
        lag, store = session.context.lag, stage.store
        findings = await Comparison(store, state, spool, store, again.intervals, lag=lag, remembers=True).run()
        gone = await drop_from(findings, spool, delete=False)
        kept = await _keep_what_is_known(findings, session)
        for found in (await drop_from(findings, spool, delete=True), await doubts.strays(spool, homes)):
            for interval, ids in found.items():
                gone[interval] = {*gone.get(interval, ()), *ids}
        # Rows that were kept are not known to be up to date: they may no longer match the filters.
        refreshes = again - Coverage(kept)
        change, outcome = await merge_spool(
            spool,
            state,
            stage,
            committer,
            gone=gone,
            whole=whole,
            repeated=doubts.repeated,
            hydrator=session.hydrator,
            all_again=True,
        )
        change = msgspec.structs.replace(change, refreshes=refreshes.intervals, proves=again.intervals, settles=True)
        await committer.commit(change, session.spent, kind="reread")
        await committer.sweep()  # what was put aside
    await seal(session.log, stage, committer, session.context.observer, goes_on=True)
    after = session.log.state
    summary = summarize(
        stage.store.location,
        before,
        after,
        session.spent,
        stage.tables.protector,
        erased_rows=session.admission.kept_out,
    )
    return RereadResult(
        summary=summary,
        intervals=tuple(interval.period for interval in target),
        inserted=outcome.inserted_by_run(before.totals.rows, summary.rows),
        updated=outcome.updated,
        removed=outcome.removed,
        unchanged=outcome.unchanged,
        rewritten=outcome.rewritten,
        kept=sum(map(len, kept.values())),
    )


async def _keep_what_is_known(findings: Differences, session: Session) -> dict[Interval, set[str]]:
    """Keeps only the rows in the findings' `deleted` for which the API answers 404, and returns the others, by home.

    Raises the errors of `confirm_deletions`, and `ContradictionError` if the API lists few rows, but knows the others.
    """
    reader, at_once = session.reader, session.context.settings.concurrency
    unlisted = [identity for ids in findings.deleted.values() for identity in ids]
    if 2 * len(unlisted) > findings.total("kept"):
        for identity in unlisted[:_LOOKED_UP]:
            if await reader.knows(identity):
                raise ContradictionError(
                    "the API lists fewer than half of the stored conversations, and knows others by their ids. "
                    "Does it read the filters differently now, or does this token see less? Nothing was changed"
                )
    if findings.witness is not None and unlisted and not await reader.knows(findings.witness):
        # If the API answers 404 to an id that it lists, 404 tells nothing.
        kept, findings.deleted = findings.deleted, {}
        return kept
    return await confirm_deletions(findings, reader, at_once)
