"""A run in simulated time: real walks, a real scheduler, and a server that takes as long as it is told to."""

import heapq
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from exporter.contract import BEGINNING, DAY, HOUR, SECOND, Instant
from exporter.fetch.traits import Traits
from exporter.fetch.walk import Walk
from exporter.model import Interval, Page, PageRequest, Rows
from exporter.plan import probes
from exporter.plan.scheduler import Scheduler

T0 = 1_770_000_000 * SECOND // DAY * DAY


@dataclass(frozen=True, slots=True)
class SimulatedRow:
    id: str

    def detach(self) -> None:
        """There is no page to let go of."""


class SimulatedServer:
    """Rows at `times`, which ascend and are all different; strict cursors, pages of up to 1000 rows."""

    def __init__(self, times: Sequence[Instant]) -> None:
        self.times = list(times)
        self.requests = 0
        self.probes = 0

    def answer(self, request: PageRequest) -> Page[SimulatedRow]:
        self.requests += 1
        start = 0 if request.created_after is None else bisect_left(self.times, request.created_after)
        end = len(self.times)
        if request.created_before is not None:
            end = bisect_right(self.times, request.created_before)
        if request.before_cursor is not None:
            end = min(end, bisect_left(self.times, request.before_cursor))
        times = self.times[max(start, end - request.limit) : max(start, end)][::-1]
        rows = [SimulatedRow(str(time)) for time in times]
        size_bytes = len(times) * (100 if request.ids_only else 10_000)
        return Page(Rows(rows, times, [None] * len(times)), size_bytes, is_narrow=request.ids_only)

    def find_beginning(self, until: Instant) -> Instant:
        """As the pipeline does it: two rounds of questions."""
        asked = self._ask(probes.coarse(until))
        oldest, newer = probes.beginning(asked.items())
        asked |= self._ask(probes.finer(until, oldest, newer))
        oldest, _ = probes.beginning(asked.items())
        return oldest

    def _ask(self, instants: Sequence[Instant]) -> dict[Instant, bool]:
        self.probes += len(instants)
        return {instant: len(self.answer(probes.anything_before(instant))) > 0 for instant in instants}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`makespan` in seconds; `pages`: as many as the rows fill; `rows`: as often as they were read."""

    makespan: float
    requests: int
    windows: int
    pages: int
    workers: int
    rows: int

    @property
    def slowdown(self) -> float:
        """How much longer it took than full pages alone, evenly shared, at a second each."""
        return self.makespan / max(1.0, self.pages / self.workers)

    @property
    def overhead(self) -> float:
        """How many requests a page of rows cost."""
        return self.requests / self.pages


def simulate(
    server: SimulatedServer,
    range_: Interval,
    workers: int,
    *,
    page_size: int = 1000,
    partition: int = DAY,
    latency: Callable[[int], float] = lambda _: 1.0,
) -> Outcome:
    """Reads `range_` to its end; `latency` gives the seconds of a request from the rows of its answer."""
    server.requests = 0
    oldest = server.find_beginning(range_.end) if range_.open_below else range_.start
    scheduler = Scheduler([range_], oldest, lambda instant: instant // partition * partition)
    traits = Traits()
    now, rows, windows = 0.0, 0, 0
    idle, order = workers, count()
    under_way: list[tuple[float, int, Walk[SimulatedRow], Page[SimulatedRow]]] = []

    def ask(walk: Walk[SimulatedRow]) -> None:
        assert walk.request is not None
        page = server.answer(walk.request)
        heapq.heappush(under_way, (now + latency(len(page)), next(order), walk, page))

    while True:
        while idle and (window := scheduler.take()) is not None:
            walk: Walk[SimulatedRow] = Walk(window, traits, page_size)
            scheduler.started(walk)
            idle -= 1
            windows += 1
            ask(walk)
        if not under_way:
            break
        now, _, walk, page = heapq.heappop(under_way)
        rows += len(walk.receive(page).rows)
        scheduler.advanced(walk, len(page))
        if walk.request is None:
            scheduler.ended(walk)
            idle += 1
        else:
            ask(walk)
    assert scheduler.is_done
    pages = max(1, -(-len(server.times) // page_size))
    return Outcome(now, server.requests, windows, pages, workers, rows)


def density(name: str, rows: int, days: int, seed: int = 0) -> SimulatedServer:
    """`rows` different times over the last `days` days before T0."""
    chance = random.Random(seed)
    span = days * DAY
    make: dict[str, Callable[[], float]] = {
        "flat": lambda: chance.random() * span,
        "office": lambda: _office(chance, days),
        "one burst": lambda: 0.4 * span + chance.random() * 10 * 60 * SECOND if chance.random() < 0.9 else _flat(),
        "many bursts": lambda: chance.randrange(20) * span / 20 + chance.random() * 60 * SECOND,
        "growing": lambda: (1 - chance.random() ** 4) * span,
    }

    def _flat() -> float:
        return chance.random() * span

    times: set[Instant] = set()
    while len(times) < rows:
        times.add(min(T0 - span + int(make[name]()), T0 - 1))
    return SimulatedServer(sorted(times))


def _office(chance: random.Random, days: int) -> float:
    while True:
        day = chance.randrange(days)
        if day % 7 < 5:
            return day * DAY + (9 * HOUR + chance.betavariate(2, 2) * 9 * HOUR)


EVERYTHING = Interval(BEGINNING, T0)
