"""Simulates tasks that share out a range, in simulated time: the real queue, and a list made of numbers.

A task is simulated as it goes: it is called, and opens a connection; it begins with two requests under way, and doubles
them with each round trip; each of its walks costs a request beyond its pages, and an idle walk halves the busiest
one; at its budget, it ends at the pages that it is at, and hands over its files.
"""

import heapq
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, pairwise
from math import exp
from typing import Final

from exporter.contract import DAY, HOUR, SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.schedule.recall import Recalls
from exporter.schedule.shares import Piece, Shares

PAGE_ROWS: Final = 1000
T0: Final = 1_770_000_000 * SECOND // DAY * DAY
#: A part with fewer rows than this is a crumb, to be merged later: 16 MiB of Parquet.
CRUMB_ROWS: Final = 24_000


class Rows:
    """Holds how many rows there are in time, as steps of even density between ascending `edges`."""

    def __init__(self, edges: Sequence[Instant], rows: Sequence[float]) -> None:
        self._edges = list(edges)
        self._sums = [0.0, *accumulate(rows)]
        self.total: Final = self._sums[-1]

    def before(self, instant: Instant) -> float:
        """Returns how many rows were created before the instant."""
        if instant <= self._edges[0]:
            return 0.0
        if instant >= self._edges[-1]:
            return self.total
        step = bisect_right(self._edges, instant) - 1
        start, end = self._edges[step], self._edges[step + 1]
        below, above = self._sums[step], self._sums[step + 1]
        return below + (above - below) * (instant - start) / (end - start)

    def down(self, end: Instant, rows: float) -> Instant:
        """Returns how far down from `end` that many rows reach."""
        wanted = self.before(end) - rows
        if wanted <= 0:
            return self._edges[0]
        step = min(bisect_right(self._sums, wanted), len(self._edges) - 1) - 1
        start, stop = self._edges[step], self._edges[step + 1]
        below, above = self._sums[step], self._sums[step + 1]
        part = (wanted - below) / (above - below) if above > below else 1.0
        return start + int((stop - start) * part)


@dataclass(frozen=True, slots=True)
class Cost:
    """Holds what a task costs, in seconds: its `call`, the `opening` of its connection, the `closing` of its files, a
    `round_trip`; it has at most `in_flight` requests, and decodes at most `pages_a_second`."""

    call: float = 0.15
    opening: float = 0.3
    closing: float = 0.3
    round_trip: float = 0.3
    look: float = 2.5
    in_flight: int = 8
    pages_a_second: float = 16.7


@dataclass(slots=True)
class _Walk:
    start: Instant
    end: Instant
    position: Instant
    #: Requests that bring nothing, still to come.
    debt: float = 1.0


@dataclass(slots=True)
class Read:
    """Holds what a task has brought: `seconds` of reading, and the rows of each part."""

    covered: Coverage
    rows: int
    seconds: float
    requests: float
    parts: list[tuple[Interval, int]] = field(default_factory=list)


def read(piece: Piece, rows: Rows, cost: Cost, speed: float) -> Read:
    """Returns what a task reads of its piece, on a machine of this `speed`."""
    waiting = list(piece.windows)
    walks: list[_Walk] = []
    done: list[_Walk] = []
    now = requests = 0.0
    knows_density = piece.density is not None
    while now < piece.budget_seconds:
        most = min(cost.in_flight, 2 ** (1 + int(now / cost.round_trip + 1e-9)))
        while len(walks) < most:
            if waiting:
                window = waiting.pop()
                walks.append(_Walk(window.start, window.end, window.end))
            elif (given := _halved(walks, rows, knows_density or now > 0)) is not None:
                walks.append(given)
            else:
                break
        if not walks:
            break
        each = min(1 / cost.round_trip, cost.pages_a_second * speed / len(walks))
        left = [walk.debt + (rows.before(walk.position) - rows.before(walk.start)) / PAGE_ROWS for walk in walks]
        step = min(min(left) / each, piece.budget_seconds - now)
        if most < cost.in_flight:
            step = min(step, cost.round_trip * (int(now / cost.round_trip + 1e-9) + 1) - now)
        step = max(step, 1e-6)
        now += step
        requests += step * each * len(walks)
        for walk, pages in zip(list(walks), left, strict=True):
            if pages <= step * each + 1e-9:
                walk.position = walk.start
                walks.remove(walk)
                done.append(walk)
                continue
            paid = min(walk.debt, step * each)
            walk.debt -= paid
            walk.position = max(walk.start + 1, rows.down(walk.position, (step * each - paid) * PAGE_ROWS))
    # Each request that is under way at the end is waited for.
    seconds = now + (cost.round_trip / 2 if walks else 0.0)
    covers = [Interval(walk.position, walk.end) for walk in (*done, *walks) if walk.position < walk.end]
    brought = [rows.before(cover.end) - rows.before(cover.start) for cover in covers]
    parts = [part for cover in covers for part in _parts(cover, rows)]
    return Read(Coverage(covers), round(sum(brought)), seconds, requests, parts)


def _halved(walks: list[_Walk], rows: Rows, is_known: bool) -> _Walk | None:
    """Returns the lower half of what the busiest walk seems to have left, taken away from it."""
    if not is_known or not walks:
        return None

    def seems_left(walk: _Walk) -> float:
        above = min(walk.end + HOUR, rows.down(walk.position, -PAGE_ROWS)) if walk.position < walk.end else walk.end
        span = max(1, above - walk.position)
        seen = (rows.before(above) - rows.before(walk.position)) / span if walk.position < walk.end else 0.0
        if not seen:
            seen = (rows.before(walk.end) - rows.before(walk.end - HOUR)) / HOUR
        return seen * (walk.position - walk.start) / PAGE_ROWS

    busiest = max(walks, key=seems_left)
    middle = (busiest.start + busiest.position) // 2
    if seems_left(busiest) < 2 or not busiest.start < middle < busiest.position:
        return None
    given = _Walk(busiest.start, middle, middle)
    busiest.start = middle
    return given


def _parts(cover: Interval, rows: Rows) -> Iterable[tuple[Interval, int]]:
    """Yields the windows and the rows of the parts that a walk leaves: one a day."""
    edges = [cover.start, *range((cover.start // DAY + 1) * DAY, cover.end, DAY), cover.end]
    for start, end in pairwise(edges):
        if (inside := round(rows.before(end) - rows.before(start))) > 0:
            yield Interval(start, end), inside


@dataclass(frozen=True, slots=True, order=True)
class _Task:
    """Holds a task under way, and when it ends."""

    ends: float
    number: int
    slot: int = field(compare=False)
    piece: Piece = field(compare=False)
    brought: Read = field(compare=False)
    began: float = field(compare=False)
    speed: float = field(compare=False)
    is_recalled: bool = field(compare=False, default=False)

    @classmethod
    def begun(cls, now: float, number: int, slot: int, piece: Piece, rows: Rows, cost: Cost, speed: float) -> "_Task":
        brought = read(piece, rows, cost, speed)
        ends = now + cost.call + cost.opening + brought.seconds + cost.closing
        return cls(ends, number, slot, piece, brought, now, speed)

    def cut(self, now: float, rows: Rows, cost: Cost) -> "_Task":
        """Returns the same task, which is told now that it must end."""
        seconds = now + cost.look - self.began - cost.call - cost.opening
        brought = read(
            replace(self.piece, budget_seconds=min(seconds, self.piece.budget_seconds)), rows, cost, self.speed
        )
        ends = self.began + cost.call + cost.opening + brought.seconds + cost.closing
        return replace(
            self,
            ends=min(self.ends, max(now, ends)),
            brought=brought if ends < self.ends else self.brought,
            is_recalled=True,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Holds what it took: `makespan` beside `ideal`, in seconds, the tasks, the requests beside the pages, the parts
    and what share of the rows is in crumbs, and how many slots were idle on average in the last tenth."""

    makespan: float
    ideal: float
    tasks: int
    requests: float
    pages: float
    parts: int
    crumbs: float
    busy: float

    @property
    def slowdown(self) -> float:
        return self.makespan / self.ideal

    @property
    def overhead(self) -> float:
        return self.requests / self.pages


def simulate(
    rows: Rows,
    range_: Interval,
    slots: int,
    *,
    cost: Cost = Cost(),
    seed: int = 0,
    commit: Callable[[int], float] = lambda outcomes: 0.1 + 0.01 * outcomes,
    watch: Callable[[float, Piece, Read], None] = lambda *_: None,
) -> Outcome:
    """Reads the range on slots that differ in speed by a fifth. The driver commits what each task has brought."""
    chance = random.Random(seed)
    speeds = [0.9 + 0.2 * chance.random() for _ in range(slots)]
    newest = rows.down(range_.end, PAGE_ROWS)
    shares = Shares(
        Coverage([range_]),
        oldest=range_.start,
        density=PAGE_ROWS / max(SECOND, range_.end - newest),
        slots=slots,
        align=lambda instant: instant // DAY * DAY,
        page_size=PAGE_ROWS,
    )
    order = count()
    running: list[_Task] = []
    recalls = Recalls()
    idle = list(range(slots))
    now = committed = busy = requests = 0.0
    tasks = uncommitted = 0
    parts: list[int] = []
    while True:
        while idle and (piece := shares.take()) is not None:
            slot = idle.pop()
            speed = speeds[slot] * (0.95 + 0.1 * chance.random())
            task = _Task.begun(now, next(order), slot, piece, rows, cost, speed)
            recalls.began(str(task.number), now, piece.budget_seconds)
            heapq.heappush(running, task)
            tasks += 1
        if not running:
            break
        names, waits = recalls.due(len(idle) if not shares.waits else 0, now)
        if names:
            running = [
                task.cut(now, rows, cost) if str(task.number) in names and not task.is_recalled else task
                for task in running
            ]
            heapq.heapify(running)
            continue
        if now + waits < running[0].ends:
            now += waits
            continue
        task = heapq.heappop(running)
        recalls.ended(str(task.number))
        now, slot, piece, brought = task.ends, task.slot, task.piece, task.brought
        busy += task.ends - task.began
        watch(task.began, piece, brought)
        assert shares.ended(piece, brought.covered, brought.parts, brought.seconds)
        # What has come while the driver commits is committed together.
        if now >= committed:
            committed = now + commit(max(1, uncommitted))
            uncommitted = 0
        else:
            uncommitted += 1
        requests += brought.requests
        parts += (inside for _, inside in brought.parts)
        idle.append(slot)
    assert shares.is_done
    pages = rows.total / PAGE_ROWS
    rate = sum(min(cost.in_flight / cost.round_trip, cost.pages_a_second * speed) for speed in speeds)
    crumbs = sum(part for part in parts if part < CRUMB_ROWS) / max(1, sum(parts))
    makespan = max(now, committed) + (commit(uncommitted) if uncommitted else 0.0)
    return Outcome(makespan, pages / rate, tasks, requests, pages, len(parts), crumbs, busy / slots / makespan)


_HOURS: Final = (1, 1, 1, 1, 1, 2, 6, 18, 52, 88, 100, 96, 74, 80, 95, 92, 78, 55, 28, 14, 8, 5, 3, 2)
_WEEK: Final = (1.0, 0.97, 0.94, 0.92, 0.85, 0.14, 0.08)
DENSITIES: Final = ("flat", "office hours", "growing", "one burst", "24 bursts")


def density(name: str, total: float, days: int, seed: int = 0) -> Rows:
    """Returns about `total` rows over the last `days` days before T0; `name` is one of `DENSITIES`."""
    chance = random.Random(seed)
    start = T0 - days * DAY
    if name in ("one burst", "24 bursts"):
        number, share, width = (1, 0.75, 0.03) if name == "one burst" else (24, 0.85, 0.0005)
        length = int(days * DAY * width)
        bursts = [start + int(chance.random() * (days * DAY - length)) for _ in range(number)]
        edges = sorted({start, T0, *bursts, *(burst + length for burst in bursts)})
        weights = [
            (1 - share) * (b - a) / (days * DAY)
            + sum(share / number * (b - a) / length for burst in bursts if burst <= a < burst + length)
            for a, b in pairwise(edges)
        ]
    else:
        edges = list(range(start, T0 + 1, HOUR))
        hours = len(edges) - 1
        of_hour: dict[str, Callable[[int], float]] = {
            "flat": lambda _: 1.0,
            "office hours": lambda hour: _HOURS[hour % 24] * _WEEK[hour // 24 % 7],
            "growing": lambda hour: exp(4 * hour / hours),
        }
        weights = [of_hour[name](hour) for hour in range(hours)]
    whole = sum(weights)
    return Rows(edges, [total * weight / whole for weight in weights])
