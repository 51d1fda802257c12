"""The memory of a run: what its ceiling is divided into, and the bytes in flight, which are all drawn from one share.

A page is in flight from when it is asked for until its rows are written. What it takes is more than its JSON text, and
is counted as such: `page_cost`.
"""

from dataclasses import dataclass
from typing import Final, Self

import anyio

_MIB: Final = 1024 * 1024
#: What a run takes before it has asked for anything: the interpreter, Arrow, the HTTP client.
_BASE_BYTES: Final = 160 * _MIB
#: No reader wants larger row groups, and they would only be held longer.
_ROW_GROUP_BYTES: Final = 16 * _MIB
#: The JSON text of a page. Larger pages would save hardly any requests.
_PAGE_BYTES: Final = 8 * _MIB
#: Smaller pages take more requests, with no more rows on their way: the bytes in flight are what is short.
_LEAST_PAGE_BYTES: Final = 2 * _MIB
#: A decoded row beside its text: its object, and those of its short fields.
_ROW_BYTES: Final = 2 * 1024
#: The text of a page, as it is received, as rows and as a batch; and more where a row is so large that what Parquet, or
#: the taking apart of its transcript, makes of it counts as well: one after the other, when the page has been let go.
_COPIES: Final = 3
_COPIES_OF_HUGE: Final = 5
#: Pages at work, beside one that is on its way in each window: one is decoded, two are encoded, one waits.
_PAGES_AT_WORK: Final = 4


@dataclass(frozen=True, slots=True)
class Shares:
    """Says what a ceiling is divided into, in bytes.

    `page` is the JSON text that a page should have, and `largest_page` what one may have. `in_flight` is the cost of
    all pages that are, and `row_group` is for each part that is open, one a window and table.
    """

    page: int
    largest_page: int
    in_flight: int
    row_group: int

    @classmethod
    def of(cls, memory_bytes: int, concurrency: int, tables: int = 1) -> Self:
        """Divides a ceiling of the process's memory among this many windows; `tables` is 1, or 2 with turns."""
        usable = memory_bytes - _BASE_BYTES
        open_parts = concurrency * tables
        row_group = min(_ROW_GROUP_BYTES, usable // 4 // open_parts)
        in_flight = usable - row_group * open_parts
        # What is reserved for a page is a quarter more than what it should have.
        pages = concurrency * 5 // 4 + _PAGES_AT_WORK
        page = min(_PAGE_BYTES, max(_LEAST_PAGE_BYTES, in_flight // (_COPIES * pages)))
        beyond = in_flight - _ROW_BYTES - _COPIES * page
        return cls(page, page + beyond // _COPIES_OF_HUGE, in_flight, row_group)

    def cost(self, rows: int, size_bytes: int) -> int:
        """Returns what a page of this many rows and bytes takes: `in_flight` for a row of `largest_page`."""
        beyond = max(0, size_bytes - self.page)
        return rows * _ROW_BYTES + _COPIES * (size_bytes - beyond) + _COPIES_OF_HUGE * beyond


class ByteBudget:
    """Keeps the cost of the pages in flight below `shares.in_flight`, whatever their sizes turn out to be."""

    def __init__(self, shares: Shares) -> None:
        self.shares: Final = shares
        self._held = 0
        self._changed = anyio.Event()
        # First come, first served: what needs much room is not overtaken forever by what needs little.
        self._turn = anyio.Lock()

    async def reserve(self, rows: int, size_bytes: int, *, waits: bool = True) -> "Room":
        """Waits for room for a page of this many rows and bytes; no more than `largest_page` of it is waited for.

        Without `waits` it takes the room even beyond the limit. That is for lists of ids, which are small.
        """
        cost = min(self.shares.cost(rows, size_bytes), self.shares.in_flight)
        if not waits:
            self._held += cost
            return Room(self, rows, cost)
        async with self._turn:
            while not self.take(cost):
                await self._changed.wait()
        return Room(self, rows, cost)

    def take(self, cost: int) -> bool:
        """Takes this much more, or gives it back, if it is there."""
        if cost > 0 and self._held + cost > self.shares.in_flight:
            return False
        self._held += cost
        if cost < 0:
            self._changed.set()
            self._changed = anyio.Event()
        return True


class Room:
    """Is what one page holds of the budget, until `release`."""

    def __init__(self, budget: ByteBudget, rows: int, cost: int) -> None:
        self._budget = budget
        self._rows = rows
        self._cost = cost
        #: The largest body that room was asked for.
        self.wanted_bytes = 0

    def fits(self, size_bytes: int) -> bool:
        """Returns whether there is room for a body of this many bytes, and takes it: nothing is waited for."""
        self.wanted_bytes = max(self.wanted_bytes, size_bytes)
        more = self._budget.shares.cost(self._rows, size_bytes) - self._cost
        if more <= 0:
            return True
        if not self._budget.take(more):
            return False
        self._cost += more
        return True

    def settle(self, rows: int, size_bytes: int) -> None:
        """The page has come, and is as large as this; there was room for it."""
        cost = self._budget.shares.cost(rows, size_bytes)
        if cost < self._cost:
            self._budget.take(cost - self._cost)
            self._cost = cost

    def release(self) -> None:
        """The page is gone."""
        self._budget.take(-self._cost)
        self._cost = 0
