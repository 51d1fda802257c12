"""Models the server as a pure function, without network or clock: of rows and a behaviour, a page for each request."""

import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import msgspec

from exporter.contract import BEGINNING, DAY, END_OF_TIME, HOUR, MILLISECOND, MINUTE, SECOND, Instant
from exporter.model import Page, PageRequest, Rows

Reads: TypeAlias = Literal[
    "exact",
    "cut_ms",
    "cut_s",
    "cut_min",
    "round_ms",
    "round_s",
    "round_min",
    "up_s",
    "up_min",
    "date",
    "hour_less",
    "hours_more",
    "zone",
    "london",
]
READS: tuple[Reads, ...] = get_args(Reads)

#: The time about which the rows of tests lie.
T0: Instant = 1_770_000_000 * SECOND
#: The start of summer time for servers that take bounds for local times.
SUMMER_TIME: Instant = T0 + 2 * SECOND
#: The filter that takes the rows that match, where it is asked for by itself.
FILTER = ("matches", "yes")
#: The parameters that a server may ignore.
PARAMETERS = ("cursor", "created_before", "created_after", "updated_after", "updated_before", "fields")


def read_bound(how: Reads, instant: Instant) -> Instant:
    """Returns the instant that a server takes a bound for, which is unknown (source.md, 14)."""
    match how:
        case "exact":
            return instant
        case "cut_ms" | "cut_s" | "cut_min" | "date":
            step = {"cut_ms": MILLISECOND, "cut_s": SECOND, "cut_min": MINUTE, "date": DAY}[how]
            return instant // step * step
        case "round_ms" | "round_s" | "round_min":
            step = {"round_ms": MILLISECOND, "round_s": SECOND, "round_min": MINUTE}[how]
            return (2 * instant + step) // (2 * step) * step
        case "up_s" | "up_min":
            step = SECOND if how == "up_s" else MINUTE
            return -(-instant // step) * step
        case "hour_less":
            return instant - HOUR
        case "hours_more":
            return instant + 5 * HOUR + 30 * MINUTE
        case "london":
            return instant - (HOUR if instant >= SUMMER_TIME else 0)
        case "zone":
            return instant - (2 * HOUR if instant >= SUMMER_TIME else HOUR)


class StoredRow(msgspec.Struct, frozen=True):
    """Holds a row as the server stores it; times are in microseconds, and `size` is that of its body.

    A row of the status that the behaviour `hides` is listed only in answer to a question that names the status.
    `tenths` are tenths of a microsecond, which are never served.
    """

    id: str
    created_at: Instant
    updated_at: Instant | None = None
    size: int = 100
    matches: bool = True
    status: str = "completed"
    tenths: int = 0
    agent_id: str = "a"

    def detach(self) -> None:
        """Does nothing, because the row holds no page."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Holds what `source.md` calls unknown or possible. `precision` is the microseconds of one served step.

    `before`, `after` and `cursor_reads` say how the bounds and the cursor are read, and `updated_reads` how the bounds
    of `updated_at` are. `excludes` names exclusive bounds. `compares` says what a bound is compared with. `cap_after`
    is the number of a request, and the page cap from then on. `fickle` means that the cap differs from answer to
    answer. `fills_updated_at` means that a row that was never updated is served with its `created_at` as `updated_at`,
    by which it is not found. `oldest_first` is the order, and from the request `oldest_after` on. `filters_late` means
    that rows that a filter leaves out count towards the limit of a page. `nulls` are the ids of rows that are answered
    as null, which are kept apart if others are beside them.
    """

    cursor: Literal["strict", "inclusive"] = "strict"
    precision: int = 1
    rounding: Literal["cut", "half_up", "half_even"] = "cut"
    page_cap: int = 1000
    bytes_cap: int | None = None
    heavy_cap: int | None = None
    ignores: frozenset[str] = frozenset()
    hides: str | None = None
    before: Reads = "exact"
    after: Reads = "exact"
    cursor_reads: Reads = "exact"
    excludes: frozenset[str] = frozenset()
    compares: Literal["stored", "served"] = "stored"
    cap_after: tuple[int, int] | None = None
    fickle: bool = False
    updated_reads: Reads = "exact"
    fills_updated_at: bool = False
    oldest_first: bool = False
    oldest_after: int | None = None
    filters_late: bool = False
    nulls: frozenset[str] = frozenset()


@dataclass(slots=True)
class ServerModel:
    """Answers requests. Rows of equal timestamps come in an order that changes from request to request."""

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

    def place(self, row: StoredRow) -> int:
        """Returns the time that bounds are compared with, in tenths of a microsecond."""
        if self.behaviour.compares == "served":
            return 10 * self.served(row.created_at)
        return 10 * row.created_at + row.tenths

    def answer(self, request: PageRequest) -> Page[StoredRow]:
        self.requests += 1
        behaviour = self.behaviour
        ignores, excludes = behaviour.ignores, behaviour.excludes
        newest, oldest = 20 * END_OF_TIME, 20 * BEGINNING
        if request.created_before is not None and "created_before" not in ignores:
            bound = 10 * read_bound(behaviour.before, request.created_before)
            newest = min(newest, bound - ("created_before" in excludes))
        if request.before_cursor is not None and "cursor" not in ignores:
            cursor = 10 * read_bound(behaviour.cursor_reads, request.before_cursor)
            newest = min(newest, cursor - (behaviour.cursor == "strict"))
        if request.created_after is not None and "created_after" not in ignores:
            bound = 10 * read_bound(behaviour.after, request.created_after)
            oldest = max(oldest, bound + ("created_after" in excludes))
        status = dict(request.values).get("status", request.status)
        is_filtered = request.filtered or FILTER in request.extra
        takes_all = not is_filtered or behaviour.filters_late
        found = [
            row
            for row in self.rows
            if oldest <= self.place(row) <= newest
            and (takes_all or row.matches)
            and (status == row.status if status is not None else row.status != behaviour.hides)
            and all(getattr(row, name) == value for name, value in request.values)
        ]
        if request.updated_after is not None or request.updated_before is not None:
            found = [row for row in found if self._updated_within(row, request)]
        if len(found) > 1:
            random.Random(self.seed * 1_000_003 + self.requests).shuffle(found)
            has_turned = behaviour.oldest_after is not None and self.requests >= behaviour.oldest_after
            is_reversed = not (behaviour.oldest_first or has_turned)
            found.sort(key=lambda row: (row.created_at, row.tenths), reverse=is_reversed)
        limited = self._clamp(found, request)
        is_narrow = self._lists_ids(request)
        page = [row for row in limited if (row.matches or not is_filtered) and row.id not in behaviour.nulls]
        return Page(
            Rows(page, [self.served(row.created_at) for row in page], [self._served_update(row) for row in page]),
            50 * len(page) if is_narrow else sum([row.size for row in page]),
            is_narrow=is_narrow,
            limit=request.limit,
            is_null=not page and any(row.id in behaviour.nulls for row in limited),
        )

    def _served_update(self, row: StoredRow) -> Instant | None:
        is_filled = row.updated_at is None and self.behaviour.fills_updated_at
        return self.served(row.created_at) if is_filled else row.updated_at

    def _updated_within(self, row: StoredRow, request: PageRequest) -> bool:
        reads, ignores, excludes = self.behaviour.updated_reads, self.behaviour.ignores, self.behaviour.excludes
        after = None if "updated_after" in ignores else request.updated_after
        before = None if "updated_before" in ignores else request.updated_before
        if after is None and before is None:
            return True
        if row.updated_at is None:
            return False
        least = BEGINNING if after is None else read_bound(reads, after) + ("updated_after" in excludes)
        most = END_OF_TIME if before is None else read_bound(reads, before) - ("updated_before" in excludes)
        return least <= row.updated_at <= most

    def _size(self, row: StoredRow, request: PageRequest) -> int:
        return 50 if self._lists_ids(request) else row.size

    def _lists_ids(self, request: PageRequest) -> bool:
        return request.ids_only and "fields" not in self.behaviour.ignores

    def _clamp(self, found: list[StoredRow], request: PageRequest) -> list[StoredRow]:
        cap = min(request.limit, self.behaviour.page_cap)
        if self.behaviour.cap_after is not None and self.requests >= self.behaviour.cap_after[0]:
            cap = min(request.limit, self.behaviour.cap_after[1])
        if self.behaviour.fickle and cap > 8:
            # The cap is never the same twice in a row: a list that is always cut alike cannot be told from a whole one.
            cap = max(min(cap, 2), cap - self.requests % 7)
        if self.behaviour.heavy_cap is not None and not self._lists_ids(request):
            cap = min(cap, self.behaviour.heavy_cap)
        bytes_cap = self.behaviour.bytes_cap
        if bytes_cap is None:
            return found[:cap]
        page: list[StoredRow] = []
        weight = 0
        for row in found[:cap]:
            weight += self._size(row, request)
            if page and weight > bytes_cap:
                break
            page.append(row)
        return page
