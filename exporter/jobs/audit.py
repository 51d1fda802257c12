"""`exporter audit`: whether the dataset has what the API lists, by id and `updated_at`.

The list is read as an export reads it, but of ids and times alone, and put aside in a temporary directory. Without a
repair it takes no lock, and changes nothing. A repair reads whole rows again where something is missing or has changed,
and merges them by one commit, as a sync does.
"""

import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from exporter.contract import ALWAYS_FIELDS, Instant
from exporter.errors import DestinationError, StoreError
from exporter.jobs.audit_comparison import compare, make_plan, until_now
from exporter.jobs.audit_repair import Repair, confirm_deletions, lifted_doubts
from exporter.log.commits import load_state
from exporter.log.state import State, StateName, state_name
from exporter.model import Counters, Coverage, Interval, Unproven
from exporter.pipeline.comparison import Differences
from exporter.progress import Observer
from exporter.run.claim import Claim, holding
from exporter.run.reconcile import changing_filters
from exporter.run.record import Run, recorded
from exporter.run.session import ask_first, connected
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store


class RepairResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair has changed, in rows. `unlisted`: ids that the list does not have, and the API answers to."""

    inserted: int
    updated: int
    removed: int
    unlisted: int | None


class AuditResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit has found. `state`: of the export. `audited`: from the first to the last of what was compared.

    `windows`: how many there are, of which `windows_audited` were drawn. `lifted`: how many times the export has in
    doubt that were listed whole; a repair makes them proven. `repaired`: None without one, after which the findings'
    `deleted` are those that are left.
    """

    state: StateName
    generation: int
    findings: Differences
    audited: Interval
    unproven: tuple[Unproven, ...]
    lifted: int
    changing_filters: tuple[str, ...]
    sampled: bool
    windows: int
    windows_audited: int
    requests: int
    seconds: float
    repaired: RepairResult | None = None

    @property
    def differs(self) -> bool:
        """Something was found that is not as the source has it, and that no repair has mended."""
        found = self.findings
        if self.repaired is not None:
            return any([*found.deleted.values(), *found.moved.values(), self.repaired.unlisted])
        return any(found.total(kind) for kind in ("missing", "changed", "moved", "deleted"))

    @property
    def is_same(self) -> bool:
        """All that was compared is shown to be as the source has it, except for what happened there since."""
        return not self.differs and not self.unproven

    @property
    def exit_status(self) -> int:
        return 0 if self.is_same else 3


async def audit(
    destination: Location,
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    *,
    now: Instant,
    share: float = 1.0,
    repair: bool = False,
    delete: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> AuditResult:
    """Compares what is covered and inside the range that is asked for, or about `share` (above 0, up to 1) of it.

    `repair` fetches what is missing or has changed; `delete`, too, drops what the source has no more. Raises
    `ExporterError`: `DestinationError` where there is no export, `UsageError` where nothing is to be compared, and
    `DestinationLockedError` when a repair finds another run at work.
    """
    async with open_store(destination) as store:
        state = await load_state(store)
        # Also before there is a lock, which would be made where no export is.
        if state.request is None:
            raise DestinationError(f"{destination}: no export here")
        return await _audit(
            store, state, asked, settings, credentials, observer, now, share, repair=repair, delete=delete, clock=clock
        )


async def _audit(
    store: Store,
    state: State,
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    now: Instant,
    share: float,
    *,
    repair: bool,
    delete: bool,
    clock: Callable[[], float],
) -> AuditResult:
    began = clock()

    async def compare_and(run: Run, held: Claim | None) -> AuditResult:
        plan = make_plan(store, held.log.state if held else state, asked, settings, share, now)
        async with connected(settings, credentials, plan.request.filters, ALWAYS_FIELDS, observer, clock) as lister:
            run.spent = lambda: lister.counters
            whole = Interval(plan.windows[0].start, plan.windows[-1].end)
            opening = await ask_first(lister, plan.state, plan.request, whole.end, settings, observer)
            plan = until_now(plan, opening.now.instant)
            findings, unproven = await compare(plan, run, lister, opening, settings, observer, clock, remembers=repair)
            lifted = lifted_doubts(plan.state, Coverage(plan.windows), unproven)
            spent, repaired = Counters(), None
            if held:
                unlisted = await confirm_deletions(findings, lister, settings.concurrency) if delete else None
                change = Repair(plan, held, findings, opening.now, lifted, settings, credentials, observer, clock)
                outcome, spent = await change.run(delete=delete)
                run.spent = lambda: lister.counters + spent
                repaired = RepairResult(
                    inserted=outcome.inserted,
                    updated=outcome.updated,
                    removed=outcome.removed,
                    unlisted=_count(unlisted),
                )
            return AuditResult(
                state=state_name(held.log.state if held else plan.state),
                generation=held.log.state.number if held else plan.state.number,
                findings=findings,
                audited=Interval(plan.windows[0].start, plan.windows[-1].end),
                unproven=unproven,
                lifted=len(lifted.intervals),
                changing_filters=tuple(changing_filters(plan.request)),
                sampled=share < 1,
                windows=plan.all_windows,
                windows_audited=len(plan.windows),
                requests=lister.counters.requests + spent.requests,
                seconds=round(clock() - began, 3),
                repaired=repaired,
            )

    async def repair_what_differs(run: Run) -> AuditResult:
        run.saw(state)
        async with holding(store, run) as held:
            return await compare_and(run, held)

    if repair:
        return await recorded(store, "audit", repair_what_differs)
    try:
        return await compare_and(Run("audit"), None)
    except StoreError as error:
        if (await load_state(store)).number == state.number:
            raise
        raise StoreError(f"{store.location}: another run has changed this export meanwhile; run again") from error


def _count(unlisted: Mapping[Interval, Collection[str]] | None) -> int | None:
    return None if unlisted is None else sum(map(len, unlisted.values()))
