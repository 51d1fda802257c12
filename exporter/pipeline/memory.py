"""Divides the memory of a run into shares, and keeps the bytes in flight within theirs.

A page is in flight from when it is asked for until its rows are written. It takes more than its JSON text, and is
counted accordingly: `Shares.cost`.
"""

from collections.abc import Iterable
from typing import Final, Self

import anyio
import msgspec

_MIB: Final = 1024 * 1024
#: The memory of a run that has not asked for anything yet: the interpreter, Arrow, the HTTP client.
_BASE_BYTES: Final = 160 * _MIB
#: The largest row group. No reader needs larger ones, which would only stay in memory longer.
_ROW_GROUP_BYTES: Final = 16 * _MIB
#: The most JSON text that a page should have. Larger pages would save hardly any requests.
_PAGE_BYTES: Final = 8 * _MIB
#: The least that a page should have. Smaller pages take more requests, with no more rows in flight.
_LEAST_PAGE_BYTES: Final = 2 * _MIB
#: The memory of a decoded row beside its text: its object, and those of its short fields.
_ROW_BYTES: Final = 2 * 1024
#: The copies of a page's text: as received, as rows and as a batch. A huge row has more, because what Parquet makes of
#: it, or the decoding of its transcript, counts as well: one after the other, after the page is dropped.
_COPIES: Final = 3
_COPIES_OF_HUGE: Final = 5
#: The pages at work beside one in flight for each window: one is decoded, two are encoded, one waits.
_PAGES_AT_WORK: Final = 4


class Shares(msgspec.Struct, frozen=True):
    """Holds the shares of a ceiling, in bytes.

    `page` is the JSON text that a page should have, and `largest_page` the most that one may have. `in_flight` is the
    cost of all pages in flight together, and `row_group` is for each open part, of which each window has one a table.
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
        # A page reserves a quarter more than it should have.
        pages = concurrency * 5 // 4 + _PAGES_AT_WORK
        page = min(_PAGE_BYTES, max(_LEAST_PAGE_BYTES, in_flight // (_COPIES * pages)))
        beyond = in_flight - _ROW_BYTES - _COPIES * page
        return cls(page, page + beyond // _COPIES_OF_HUGE, in_flight, row_group)

    def cost(self, rows: int, size_bytes: int) -> int:
        """Returns the cost of a page of this many rows and bytes: `in_flight` for one row of `largest_page`."""
        beyond = max(0, size_bytes - self.page)
        return rows * _ROW_BYTES + _COPIES * (size_bytes - beyond) + _COPIES_OF_HUGE * beyond


class ByteBudget:
    """Keeps the cost of the pages in flight below `shares.in_flight`, whatever sizes they turn out to have."""

    def __init__(self, shares: Shares) -> None:
        self.shares: Final = shares
        self._held = 0
        self._changed = anyio.Event()
        # First come, first served: a large page is not overtaken forever by small ones.
        self._turn = anyio.Lock()

    async def reserve(self, rows: int, size_bytes: int, *, waits: bool = True) -> "Room":
        """Waits for room for a page of this many rows and bytes, or of `largest_page` if that is less.

        Without `waits`, it takes the room even beyond the limit. That is for lists of ids, which are small.
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
        """Takes this much more, and returns whether there was room; a negative `cost` is given back."""
        if cost > 0 and self._held + cost > self.shares.in_flight:
            return False
        self._held += cost
        if cost < 0:
            self._changed.set()
            self._changed = anyio.Event()
        return True


class Room:
    """Holds the part of the budget that one page takes, until `release`."""

    def __init__(self, budget: ByteBudget, rows: int, cost: int) -> None:
        self._budget = budget
        self._rows = rows
        self._cost = cost
        #: The size of the largest body that room was asked for.
        self.wanted_bytes = 0

    def fits(self, size_bytes: int) -> bool:
        """Takes room for a body of this many bytes, and returns whether there was enough. Does not wait."""
        self.wanted_bytes = max(self.wanted_bytes, size_bytes)
        more = self._budget.shares.cost(self._rows, size_bytes) - self._cost
        if more <= 0:
            return True
        if not self._budget.take(more):
            return False
        self._cost += more
        return True

    def settle(self, rows: int, size_bytes: int) -> None:
        """Gives back what a page that has arrived, as large as this, does not need."""
        cost = self._budget.shares.cost(rows, size_bytes)
        if cost < self._cost:
            self._budget.take(cost - self._cost)
            self._cost = cost

    def release(self) -> None:
        """Gives back everything: the page is gone."""
        self._budget.take(-self._cost)
        self._cost = 0


def release(rooms: Iterable[Room]) -> None:
    """Gives back everything that these hold."""
    for room in rooms:
        room.release()
