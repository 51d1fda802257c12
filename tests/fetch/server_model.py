"""The server as a pure function: a list of rows and a behaviour, one page for a request. No network, no clock."""

import random
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from exporter.contract import BEGINNING, END_OF_TIME, Instant
from exporter.model import Page, PageRequest, Rows

_created_at = attrgetter("created_at")


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as the server stores it, in microseconds; `size` is what its body weighs. a row of the status that the
    behaviour `hides` is listed only when asked for by it."""

    id: str
    created_at: Instant
    updated_at: Instant | None = None
    size: int = 100
    matches: bool = True
    status: str = "completed"

    def detach(self) -> None:
        """There is no page to let go of."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What `api.md` calls unknown or possible. `precision`: microseconds of one served step."""

    cursor: Literal["strict", "inclusive"] = "strict"
    precision: int = 1
    rounding: Literal["cut", "half_up", "half_even"] = "cut"
    page_cap: int = 1000
    bytes_cap: int | None = None
    heavy_cap: int | None = None
    ignores: frozenset[str] = frozenset()
    hides: str | None = None


@dataclass(slots=True)
class ServerModel:
    """Answers requests; equal timestamps come in an order that changes from request to request."""

    rows: list[StoredRow]
    behaviour: Behaviour
    seed: int = 0
    requests: int = field(default=0)

    def served(self, instant: Instant) -> Instant:
        step = self.behaviour.precision
        whole, rest = divmod(instant, step)
        if self.behaviour.rounding == "cut" or step == 1:
            return whole * step
        up = rest * 2 > step or (rest * 2 == step and (self.behaviour.rounding == "half_up" or whole % 2 == 1))
        return (whole + up) * step

    def answer(self, request: PageRequest) -> Page[StoredRow]:
        self.requests += 1
        ignores = self.behaviour.ignores
        newest, oldest = END_OF_TIME * 2, BEGINNING * 2
        if request.created_before is not None and "created_before" not in ignores:
            newest = min(newest, request.created_before)
        if request.before_cursor is not None and "cursor" not in ignores:
            newest = min(newest, request.before_cursor - (self.behaviour.cursor == "strict"))
        if request.created_after is not None and "created_after" not in ignores:
            oldest = max(oldest, request.created_after)
        found = [
            row
            for row in self.rows
            if oldest <= row.created_at <= newest
            and (row.matches or not request.filtered)
            and (row.status != self.behaviour.hides if request.status is None else row.status == request.status)
            and self._updated_within(row, request)
        ]
        if len(found) > 1:
            random.Random(self.seed * 1_000_003 + self.requests).shuffle(found)
            found.sort(key=_created_at, reverse=True)
        page = self._clamp(found, request)
        return Page(
            Rows(page, [self.served(row.created_at) for row in page], [row.updated_at for row in page]),
            sum(self._size(row, request) for row in page),
            is_narrow=self._lists_ids(request),
            limit=request.limit,
        )

    def _updated_within(self, row: StoredRow, request: PageRequest) -> bool:
        after = None if "updated_after" in self.behaviour.ignores else request.updated_after
        before = None if "updated_before" in self.behaviour.ignores else request.updated_before
        if after is None and before is None:
            return True
        if row.updated_at is None:
            return False
        return (after is None or after <= row.updated_at) and (before is None or row.updated_at <= before)

    def _size(self, row: StoredRow, request: PageRequest) -> int:
        return 50 if self._lists_ids(request) else row.size

    def _lists_ids(self, request: PageRequest) -> bool:
        return request.ids_only and "fields" not in self.behaviour.ignores

    def _clamp(self, found: list[StoredRow], request: PageRequest) -> list[StoredRow]:
        cap = min(request.limit, self.behaviour.page_cap)
        if self.behaviour.heavy_cap is not None and not self._lists_ids(request):
            cap = min(cap, self.behaviour.heavy_cap)
        page: list[StoredRow] = []
        weight = 0
        for row in found[:cap]:
            weight += self._size(row, request)
            if page and self.behaviour.bytes_cap is not None and weight > self.behaviour.bytes_cap:
                break
            page.append(row)
        return page
