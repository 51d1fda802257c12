"""Defines windows that are read from their end towards their start, whatever reads them."""

from typing import Generic

import msgspec

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.model import PageRequest, Rows, RowT, Unproven


class Settled(msgspec.Struct, Generic[RowT], frozen=True):
    """Holds the rows that one page has finished, from new to old, and the doubts about them."""

    rows: Rows[RowT]
    unproven: tuple[Unproven, ...] = ()


class WindowProgress:
    """Holds how far a window, which is read from its end towards its start, has been read.

    Every row of the window with `created_at` at or above `settled_from` has been handed out. `foreseen` is what it will
    ask for after its next page if that is as expected, so that both can be asked for at once; None if it cannot tell.
    """

    def __init__(self, window: Interval) -> None:
        self.start = window.start
        self.end = window.end
        self.settled_from = window.end
        self.rows_settled = 0
        self.foreseen: PageRequest | None = None

    @property
    def remaining(self) -> Interval | None:
        """Returns the part of the window that is left if the walk stops now."""
        return Interval(self.start, self.settled_from) if self.start < self.settled_from else None

    def give_away_below(self, instant: Instant) -> Interval:
        """Ends the window at `instant`, and returns what was below it. Needs `start < instant < settled_from`."""
        if not self.start < instant < self.settled_from:
            raise ValueError(f"{instant} is not inside [{self.start}, {self.settled_from})")
        given = Interval(self.start, instant)
        self.start = instant
        return given
