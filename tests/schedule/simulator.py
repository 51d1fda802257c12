"""Simulates a run in simulated time: real walks, a real scheduler, and a server that takes as long as it is told to."""

import heapq
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from exporter.contract import BEGINNING, DAY, HOUR, MINUTE, SECOND, Instant
from exporter.coverage import Interval
from exporter.fetch.walk.approach import close_question
from exporter.fetch.walk.traits import Traits
from exporter.fetch.walk.walk import Walk
from exporter.model import Page, PageRequest, Rows
from exporter.sandbox.density import Density, spread
from exporter.schedule import probes
from exporter.schedule.scheduler import Scheduler

T0 = 1_770_000_000 * SECOND // DAY * DAY


@dataclass(frozen=True, slots=True)
class SimulatedRow:
    id: str

    def detach(self) -> None:
        """Does nothing: there is no page to detach from."""


class SimulatedServer:
    """Serves rows at `times`, which ascend and are all different; strict cursors, pages of up to 1000 rows."""

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

    def find_beginning(self, range_: Interval, density: float | None, page_size: int) -> Instant:
        """Asks in some rounds, as the pipeline does, where the data may begin within the range."""
        asking = probes.find_beginning(range_, density, page_size)
        try:
            instants = next(asking)
            while True:
                instants = asking.send(self._ask(instants))
        except StopIteration as found:
            beginning: Instant = found.value
            return beginning

    def _ask(self, instants: Sequence[Instant]) -> dict[Instant, bool | None]:
        self.probes += len(instants)
        return {instant: len(self.answer(probes.anything_before(instant))) > 0 for instant in instants}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Holds what a run took: `makespan` is in seconds, `pages` is what the rows fill, `rows` counts each reading."""

    makespan: float
    requests: int
    windows: int
    pages: int
    workers: int
    rows: int

    @property
    def slowdown(self) -> float:
        """Returns how much longer it took than full pages alone, evenly shared, at a second each."""
        return self.makespan / max(1.0, self.pages / self.workers)

    @property
    def overhead(self) -> float:
        """Returns how many requests a page of rows cost."""
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
    density = probes.density(server.answer(probes.newest(range_.end)).rows.created_at)
    server.requests = 0
    oldest = server.find_beginning(range_, density, page_size)
    scheduler = Scheduler([range_], oldest, lambda instant: instant // partition * partition, page_size, density)
    traits = Traits()
    traits.expect(max(server.times, default=BEGINNING), density)
    if (question := close_question(server.answer(probes.newest(range_.end)).rows.created_at)) is not None:
        traits.observe(question, server.answer(question))
        server.requests -= 2
    now, rows, windows = 0.0, 0, 0
    idle, order = workers, count()
    under_way: list[tuple[float, int, Walk[SimulatedRow] | None, PageRequest, Page[SimulatedRow]]] = []
    # What a walk has foreseen, and when the answer comes: an idle worker asks for it.
    ahead: dict[Walk[SimulatedRow], tuple[PageRequest, Page[SimulatedRow], float]] = {}

    def send(request: PageRequest, walk: Walk[SimulatedRow] | None) -> tuple[PageRequest, Page[SimulatedRow], float]:
        page = server.answer(request)
        answered = now + latency(len(page))
        heapq.heappush(under_way, (answered, next(order), walk, request, page))
        return request, page, answered

    def ask(walk: Walk[SimulatedRow]) -> None:
        nonlocal idle
        assert walk.request is not None
        request, page, answered = ahead.pop(walk, (None, None, 0.0))
        if page is not None and request == walk.request:
            heapq.heappush(under_way, (max(now, answered), next(order), walk, request, page))
            return
        send(walk.request, walk)
        if walk.foreseen is not None and idle:
            idle -= 1
            ahead[walk] = send(walk.foreseen, None)

    while True:
        while idle and (window := scheduler.take()) is not None:
            walk: Walk[SimulatedRow] = Walk(window, traits, page_size)
            scheduler.started(walk)
            idle -= 1
            windows += 1
            ask(walk)
        if not under_way:
            break
        now, _, reader, request, page = heapq.heappop(under_way)
        if reader is None:
            idle += 1
            continue
        rows += len(reader.receive(page).rows)
        scheduler.advanced(reader, page.rows.created_at, ids_only=request.ids_only)
        if reader.request is None:
            scheduler.ended(reader)
            idle += 1
        else:
            ask(reader)
    assert scheduler.is_done
    pages = max(1, -(-len(server.times) // page_size))
    return Outcome(now, server.requests, windows, pages, workers, rows)


def jitter(seed: int) -> Callable[[int], float]:
    """Returns a latency of 0.7 to 1.3 seconds, one on average."""
    chance = random.Random(seed)
    return lambda _: 0.7 + 0.6 * chance.random()


def density(name: str, rows: int, days: int, seed: int = 0) -> SimulatedServer:
    """Returns about `rows` different times over the last `days` days before T0; `name` is one of `DENSITIES`."""
    chance = random.Random(seed)
    start = T0 - days * DAY
    if name == "one hour":
        hour = Interval(start + (T0 - start) * 2 // 5, start + (T0 - start) * 2 // 5 + HOUR)
        times = [chance.randrange(*_ends(hour if chance.random() < 0.75 else Interval(start, T0))) for _ in range(rows)]
    elif name == "adversarial":
        times = list(_adversarial(chance, Interval(start, T0), rows))
    else:
        times = spread(rows, start, T0, _SPREADS[name], chance)
    return SimulatedServer(sorted(set(times)))


def _adversarial(chance: random.Random, within: Interval, rows: int) -> Iterator[Instant]:
    """Puts a twentieth of the rows into one half of every interval, down to minutes: no half hints at the other."""
    if not rows:
        return
    if within.end - within.start < 2 * MINUTE:
        yield from (chance.randrange(*_ends(within)) for _ in range(rows))
        return
    middle = (within.start + within.end) // 2
    older = round(rows * chance.choice((0.05, 0.95)))
    yield from _adversarial(chance, Interval(within.start, middle), older)
    yield from _adversarial(chance, Interval(middle, within.end), rows - older)


def _ends(interval: Interval) -> tuple[Instant, Instant]:
    return interval.start, interval.end


_SPREADS: Final[dict[str, Density]] = {
    "flat": "flat",
    "office hours": "office",
    "one burst": "one-burst",
    "many bursts": "many-bursts",
}
#: A burst has three quarters of the rows in 3 % of the time; an hour has them in one hour, however long the range.
DENSITIES: Final = (*_SPREADS, "one hour", "adversarial")
EVERYTHING: Final = Interval(BEGINNING, T0)
