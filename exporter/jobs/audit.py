"""`exporter audit` checks whether the dataset has what the API lists, by id and `updated_at`.

The list is read as an export reads it, except that it has only ids and times, and is put aside in a temporary
directory. Without a repair, an audit takes no lock and changes nothing. A repair reads whole rows again where something
is missing or has changed, and merges them by one commit, as a sync does.
"""

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.errors import StoreError
from exporter.jobs.audit_comparison import Plan, compare, listed_by, make_plan, until_now
from exporter.jobs.audit_repair import Repair, confirm_deletions, lifted_doubts
from exporter.jobs.audit_result import AuditResult, Findings, RepairResult
from exporter.jobs.doubts import unproven_of
from exporter.log.acceptance import find_accepted, times_of
from exporter.log.commits import load_state
from exporter.log.recordings import count_recordings
from exporter.log.state import State, state_name
from exporter.parts.cipher import using
from exporter.run.claim import Claim, holding
from exporter.run.connect import connected
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher
from exporter.run.protection import settle_policy
from exporter.run.reconcile import changing_filters, stored_export
from exporter.run.record import Run, note_checked, recorded
from exporter.settings import Selection
from exporter.store.location import Location
from exporter.store.open import open_store


async def audit(
    destination: Location,
    asked: Selection,
    context: RunContext,
    *,
    now: Instant,
    share: float = 1.0,
    repair: bool = False,
    delete: bool = False,
) -> AuditResult:
    """Compares what is covered and inside the range that is asked for, or about `share` (above 0, up to 1) of it.

    `repair` fetches what is missing or has changed; `delete` also drops what the source no longer has. Raises
    `ExporterError`: `DestinationError` if there is no export, `UsageError` if there is nothing to compare, and
    `DestinationLockedError` if a repair finds another run at work.
    """
    async with open_store(destination) as store:
        state = await load_state(store)
        # This comes before the lock, which would be made even if there is no export.
        stored_export(state, destination)
        settle_policy(state, asked, destination, context.keys)

        cipher_of = find_cipher(context.keys, destination, asked)

        def plan(state: State) -> Plan:
            return make_plan(store, state, asked, context.settings.page_size, share, now)

        async def repair_what_differs(run: Run) -> AuditResult:
            run.saw(state)
            async with holding(store, run, cipher_of) as claim:
                return await _audit(plan(claim.log.state), run, context, claim, delete=delete)

        try:
            if repair:
                found = await recorded(store, "audit", repair_what_differs)
            else:
                with using(cipher_of(state)):
                    found = await _audit(plan(state), Run("audit"), context)
        except StoreError as error:
            if repair or (await load_state(store)).number == state.number:
                raise
            raise StoreError(f"{destination}: another run has changed this export meanwhile; run again") from error
        is_whole = not found.sampled and asked.since is None and asked.until is None
        await note_checked(store, "audit", found, found.generation, is_whole=is_whole)
        return found


async def _audit(
    plan: Plan, run: Run, context: RunContext, claim: Claim | None = None, *, delete: bool = False
) -> AuditResult:
    """Compares as planned and, under a claim, repairs what differs."""
    began, windows = context.clock(), plan.windows
    async with connected(listed_by(plan), plan.state, windows[-1].end, context, run) as connection:
        now = connection.opening.now
        plan = until_now(plan, now.instant)
        findings, unproven = await compare(plan, connection, remembers=claim is not None)
        lifted = lifted_doubts(plan.state, Coverage(plan.windows), unproven)
        repaired = None
        if claim is not None:
            at_once = context.settings.concurrency
            unlisted = await confirm_deletions(findings, connection.reader, at_once) if delete else None
            repair = Repair(plan, claim, findings, now, lifted, run, context, connection.reader)
            outcome = await repair.apply(delete=delete)
            repaired = RepairResult(
                inserted=outcome.inserted,
                updated=outcome.updated,
                removed=outcome.removed,
                unlisted=None if unlisted is None else sum(map(len, unlisted.values())),
                deleted=sum(map(len, findings.deleted.values())),
                moved=sum(map(len, findings.moved.values())),
                new_doubts=len(claim.log.state.new_doubts),
            )
        after = plan.state if claim is None else claim.log.state
        accepted = times_of(after.acceptances)
        return AuditResult(
            state=state_name(after),
            generation=after.number,
            findings=Findings.of(findings),
            audited=Interval(plan.windows[0].start, plan.windows[-1].end).period,
            unproven=unproven_of(unproven),
            lifted=len(lifted.intervals),
            changing_filters=tuple(changing_filters(plan.request)),
            sampled=plan.sampled,
            windows=plan.all_windows,
            windows_audited=len(plan.windows),
            requests=run.spent().requests,
            seconds=round(context.clock() - began, 3),
            repaired=repaired,
            accepted=sum(find_accepted(one, accepted) is not None for one in unproven),
            recordings_left=count_recordings(after).left if after.has_recordings else None,
            erased=connection.admission.kept_out if after.privacy.erasures else None,
        )
