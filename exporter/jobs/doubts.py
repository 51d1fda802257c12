"""Names what is in doubt, and who has accepted what, for people and for Python programs."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from exporter.contract import to_datetime
from exporter.coverage import Period
from exporter.log.acceptance import Acceptance, Doubts
from exporter.model import Unproven


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Says where rows are in doubt: in a `period` of `created_at`, which is None if a file in quarantine names none.

    It is `unproven` that there are no more than these `rows`, for a `reason`; or the rows fit no column, and are in
    `quarantine` at a `path`; or they came with sensitive fields `withheld`, while others had them.
    """

    kind: Literal["unproven", "quarantine", "withheld"]
    rows: int
    period: Period | None
    reason: str | None = None
    path: str | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Names the `doubts` that somebody has accepted, `at` what time, `by` whom, and with what `note`."""

    at: datetime
    by: str
    note: str | None
    doubts: tuple[Doubt, ...]

    @property
    def number(self) -> int:
        """Returns the number of doubts, as `number_of` counts."""
        return number_of(self.doubts)


def number_of(doubts: Iterable[Doubt]) -> int:
    """Returns the number of times, of rows in quarantine, and of intervals with withheld fields."""
    return sum(doubt.rows if doubt.kind == "quarantine" else 1 for doubt in doubts)


def doubts_of(doubts: Doubts) -> tuple[Doubt, ...]:
    """Returns everything that is in doubt."""
    quarantine = (
        Doubt(
            kind="quarantine",
            rows=file.rows,
            path=file.path,
            period=None if file.window is None else file.window.period,
        )
        for file in doubts.quarantine
    )
    withheld = (Doubt(kind="withheld", rows=one.rows, period=one.interval.period) for one in doubts.withheld)
    return (*unproven_of(doubts.times), *quarantine, *withheld)


def unproven_of(doubts: Iterable[Unproven]) -> tuple[Doubt, ...]:
    """Returns times whose rows are not proven to be complete."""
    return tuple(Doubt(kind="unproven", rows=one.rows, period=one.interval.period, reason=one.reason) for one in doubts)


def accepted_of(acceptances: Iterable[Acceptance]) -> tuple[Accepted, ...]:
    """Returns what was accepted."""
    return tuple(
        Accepted(at=to_datetime(one.at), by=one.by, note=one.note, doubts=doubts_of(one.doubts)) for one in acceptances
    )
