"""`exporter audit` checks whether the dataset has what the API lists, by id and `updated_at`.

The list is read as an export reads it, except that it has only ids and times, and is put aside in a temporary
directory. Without a repair, an audit takes no lock and changes nothing. A repair reads whole rows again where something
is missing or has changed, and merges them by one commit, as a sync does.
"""

from collections import Counter
from datetime import date, datetime
from typing import Self

import msgspec

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval, Period
from exporter.errors import DamagedPartError, StoreError
from exporter.jobs.audit_comparison import Plan, compare, listed_by, make_plan, until_now
from exporter.jobs.audit_repair import Repair, confirm_deletions, lifted_doubts
from exporter.jobs.doubts import Doubt, unproven_of
from exporter.log.acceptance import find_accepted, times_of
from exporter.log.commits import load_state
from exporter.log.recordings import count_recordings
from exporter.log.state import State, StateName, state_name
from exporter.partitions import date_of
from exporter.parts.cipher import using
from exporter.pipeline.comparison import Differences
from exporter.plan.differences import Kind
from exporter.plan.sample import CONFIDENCE, most_differing
from exporter.run.claim import Claim, holding
from exporter.run.connect import connected
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher
from exporter.run.protection import settle_policy
from exporter.run.reconcile import changing_filters, stored_export
from exporter.run.record import Run, recorded
from exporter.settings import Selection
from exporter.store.location import Location
from exporter.store.open import open_store


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Says how the list differs from the export.

    `days` counts by the day of `created_at` in `zone` the rows that were `listed` and `kept`, and those of each kind of
    difference. `ids` are some of each kind. `differing_windows` counts the windows that differ, and `nameless` the
    listed rows without an id; they cannot be told apart, and are not compared.
    """

    zone: str
    days: dict[date, Counter[str]]
    ids: dict[Kind, list[str]]
    differing_windows: int
    nameless: int

    @classmethod
    def of(cls, found: Differences) -> Self:
        return cls(
            zone=found.zone,
            days={date_of(day): counts for day, counts in sorted(found.days.items())},
            ids=found.ids,
            differing_windows=len(found.windows),
            nameless=found.nameless,
        )

    def total(self, name: str) -> int:
        """Returns the number of rows of all days that were `listed` or `kept`, or of a kind."""
        return sum(day[name] for day in self.days.values())


class RepairResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the rows that a repair has changed. `unlisted` are ids that the API does not list, but answers to.

    `deleted` and `moved` count the rows with such a difference that were left as they are, and `new_doubts` what is in
    doubt after the repair and nobody has accepted.
    """

    inserted: int
    updated: int
    removed: int
    unlisted: int | None
    deleted: int = 0
    moved: int = 0
    new_doubts: int = 0


class AuditSample(msgspec.Struct, frozen=True, kw_only=True):
    """Says that `differing` of the `audited` windows differ, and with this `confidence` `at_most` this number of all
    `windows`."""

    windows: int
    audited: int
    differing: int
    confidence: float
    at_most: int


class AuditResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what an audit has found. `state` is that of the export; `audited` spans everything that was compared.

    `windows` is the number of windows, of which `windows_audited` were drawn. `lifted` is the number of times in doubt
    that were now listed whole; a repair makes them proven. `repaired` is None without a repair. `accepted` counts those
    `unproven` times of the list that are known to be in doubt, because somebody has accepted it. `recordings_left`
    counts recordings that are known to exist and were not asked for yet; None: nobody knows, or none are kept. `erased`
    counts conversations that the API lists, and that were erased here, which is no difference; None: nobody ever was.
    """

    state: StateName
    generation: int
    findings: Findings
    audited: Period
    unproven: tuple[Doubt, ...]
    lifted: int
    changing_filters: tuple[str, ...]
    sampled: bool
    windows: int
    windows_audited: int
    requests: int
    seconds: float
    repaired: RepairResult | None = None
    accepted: int = 0
    recordings_left: int | None = None
    erased: int | None = None

    @property
    def differs(self) -> bool:
        """Returns whether something is not as the source has it, and no repair has mended it."""
        if (done := self.repaired) is not None:
            return bool(done.deleted or done.moved or done.unlisted)
        return any(self.findings.total(kind) for kind in ("missing", "changed", "moved", "deleted"))

    @property
    def same(self) -> bool:
        """Returns whether all that was compared is proven to be as the source has it, later changes there aside."""
        return not self.differs and not self.unproven

    @property
    def start(self) -> datetime | None:
        """Returns the start of what was compared; None for the beginning."""
        return self.audited.start

    @property
    def end(self) -> datetime:
        """Returns the end of what was compared, which is excluded."""
        return self.audited.end

    @property
    def listed(self) -> int:
        """Returns the number of rows that the API lists."""
        return self.findings.total("listed")

    @property
    def kept(self) -> int:
        """Returns the number of rows in the export, before any repair."""
        return self.findings.total("kept")

    @property
    def missing(self) -> int:
        """Returns the number of rows that the API lists and the export lacks."""
        return self.findings.total("missing")

    @property
    def changed(self) -> int:
        """Returns the number of rows whose time of change differs."""
        return self.findings.total("changed")

    @property
    def moved(self) -> int:
        """Returns the number of rows that the API lists with another `created_at`."""
        return self.findings.total("moved")

    @property
    def deleted(self) -> int:
        """Returns the number of rows that the API does not list."""
        return self.findings.total("deleted")

    @property
    def later(self) -> int:
        """Returns the number of rows that are new or changed since they were read, which is no difference."""
        return self.findings.total("later")

    @property
    def nameless(self) -> int:
        """Returns the number of listed rows without an id."""
        return self.findings.nameless

    @property
    def timezone(self) -> str:
        """Returns the time zone of `days`."""
        return self.findings.zone

    @property
    def days(self) -> dict[date, Counter[str]]:
        """Returns the counts by day."""
        return self.findings.days

    @property
    def ids(self) -> dict[Kind, list[str]]:
        """Returns some ids of each kind of difference."""
        return self.findings.ids

    @property
    def sample(self) -> AuditSample | None:
        """Returns what a sample says of the whole; None if all was compared."""
        if not self.sampled:
            return None
        windows, audited, differing = self.windows, self.windows_audited, self.findings.differing_windows
        at_most = most_differing(windows, audited, differing)
        return AuditSample(
            windows=windows, audited=audited, differing=differing, confidence=CONFIDENCE, at_most=at_most
        )

    @property
    def exit_status(self) -> int:
        if self.differs:
            return DamagedPartError.exit_status
        is_in_doubt = self.repaired is not None and self.repaired.new_doubts
        return 3 if is_in_doubt or len(self.unproven) > self.accepted else 0


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

        if repair:
            return await recorded(store, "audit", repair_what_differs)
        try:
            with using(cipher_of(state)):
                return await _audit(plan(state), Run("audit"), context)
        except StoreError as error:
            if (await load_state(store)).number == state.number:
                raise
            raise StoreError(f"{destination}: another run has changed this export meanwhile; run again") from error


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
