"""Reads two lists as one: a window of a list that leaves one status out, and of the list that has that status alone.

An unfiltered list may hide `token_created` conversations (source.md, 7). Their own list is read first, and the
unfiltered one only down to where the first has got: a conversation that leaves the status in between then shows up in
one of the two, or in both, and is taken once.
"""

from heapq import merge
from typing import Generic

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.fetch.walk.rows import TimedRow, each_row, rows_of
from exporter.fetch.walk.traits import Traits
from exporter.fetch.walk.walk import Walk
from exporter.fetch.walk.window import Settled, WindowProgress
from exporter.model import Page, PageRequest, RowT


def new_walk(
    window: Interval, traits: Traits, page_size: int, hidden_status: str | None, *, is_alone: bool = False
) -> "Walk[RowT] | DoubleWalk[RowT]":
    """Returns a walk of the list, and of that of `hidden_status` if there is one, or of that one `is_alone`."""
    if hidden_status is None:
        return Walk(window, traits, page_size)
    traits.is_filtered = traits.filter_order.leaves_out_others = True
    return (Walk if is_alone else DoubleWalk)(window, traits, page_size, hidden_status)


class DoubleWalk(WindowProgress, Generic[RowT]):
    """Reads `window` of both lists; otherwise, it is like `Walk`."""

    def __init__(self, window: Interval, traits: Traits, page_size: int, status: str) -> None:
        super().__init__(window)
        self._traits = traits
        self._page_size = page_size
        self._hidden: Walk[RowT] = Walk(window, traits, page_size, status)
        self._shown: Walk[RowT] | None = None
        # Rows that were read from the hidden list and are not yet handed out, from new to old.
        self._waiting: list[TimedRow[RowT]] = []

    @property
    def request(self) -> PageRequest | None:
        """Returns the page to ask for next; None when the window has been read."""
        if self._shown is not None:
            return self._shown.request
        return self._hidden.request if self.start < self.settled_from else None

    def give_away_below(self, instant: Instant) -> Interval:
        given = super().give_away_below(instant)
        if instant < self._hidden.settled_from:
            self._hidden.give_away_below(instant)
        if self._shown is not None and self._shown.start < instant:
            self._shown.give_away_below(instant)
        self._waiting = [row for row in self._waiting if row[1] >= instant]
        return given

    def receive(self, page: Page[RowT]) -> Settled[RowT]:
        """Takes the answer to `request`, moves on to the next, and returns what this page has finished."""
        if self._shown is None:
            settled = self._hidden.receive(page)
            self._waiting += each_row(settled.rows)
            bottom = max(self.start, self._hidden.settled_from)
            if bottom < self.settled_from:
                self._shown = Walk(Interval(bottom, self.settled_from), self._traits, self._page_size)
            # The doubts may be about other windows.
            return Settled(rows_of(()), settled.unproven)
        settled = self._shown.receive(page)
        self.settled_from = self._shown.settled_from
        if self._shown.request is None:
            self._shown = None
        return self._joined(settled)

    def _joined(self, shown: Settled[RowT]) -> Settled[RowT]:
        """Joins what the unfiltered list has settled with what the hidden one has down to there."""
        known = {row.id for row in shown.rows.rows}
        due = [row for row in self._waiting if row[1] >= self.settled_from and row[0].id not in known]
        self._waiting = [row for row in self._waiting if row[1] < self.settled_from]
        rows = rows_of(merge(each_row(shown.rows), due, key=lambda row: row[1], reverse=True)) if due else shown.rows
        self.rows_settled += len(rows)
        return Settled(rows, shown.unproven)
