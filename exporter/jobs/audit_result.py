"""Says what an audit has found, and what its repair has done."""

from collections import Counter
from datetime import date, datetime
from typing import Self

import msgspec

from exporter.coverage import Period
from exporter.errors import DamagedPartError
from exporter.jobs.doubts import Doubt
from exporter.log.state import StateName
from exporter.partitions import date_of
from exporter.pipeline.comparison import Differences
from exporter.schedule.differences import Kind
from exporter.schedule.sample import CONFIDENCE, most_differing


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
