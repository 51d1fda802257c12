"""Reads lists that a filter leaves rows out of, in worlds that each come from one number, and looks for silent losses.

    python -m tests.fetch.walk.filtered_worlds 5000          tells how 5,000 worlds end, and names those with a loss
    python -m tests.fetch.walk.filtered_worlds 1 4711        tells of one world alone, with each of its questions

A loss is silent if no doubt names its time. A world has parallel walks of several windows, bounds that may be misread,
clocks that may be put forward or back amid the rows, and a filter that is applied before or after a page is limited.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from exporter.contract import BEGINNING, DAY, HOUR, MILLISECOND, SECOND, Instant
from exporter.coverage import Interval
from exporter.errors import ContradictionError
from exporter.fetch.walk.approach import close_question
from exporter.fetch.walk.traits import Traits
from exporter.fetch.walk.walk import Walk
from exporter.model import Page, PageRequest, Unproven
from tests.fetch.walk.server_model import FILTER, READS, T0, Behaviour, ServerModel, StoredRow

_MOST_REQUESTS: Final = 20_000
Watch = Callable[[Walk[StoredRow], PageRequest, Page[StoredRow]], None]


@dataclass(slots=True)
class World:
    """Holds a server, the windows that are read of it, how many at a time, and what the run knows beforehand."""

    server: ServerModel
    windows: list[Interval]
    at_once: int
    page_sizes: tuple[int, ...]
    is_opened: bool
    chance: random.Random


@dataclass(slots=True)
class Ending:
    """Holds what was read of a world: how often each row, the doubts, and what was lost though no doubt names it."""

    found: Counter[str] = field(default_factory=Counter)
    doubts: list[Unproven] = field(default_factory=list)
    lost: list[StoredRow] = field(default_factory=list)
    is_refused: bool = False

    @property
    def word(self) -> str:
        """Returns the word for how it ended."""
        return "refused" if self.is_refused else "lost" if self.lost else "named" if self.doubts else "exact"


def world(seed: int) -> World:
    """Draws the world of a seed."""
    chance = random.Random(seed)
    top = T0 + chance.choice((0, 0, 5 * SECOND, 2 * HOUR, 3 * DAY))
    rows = list(_rows(chance, top))
    bottom = rows[-1].created_at
    server = ServerModel(rows, _behaviour(chance), seed)
    span = top - bottom
    low = bottom - chance.choice((0, span // 4, span, 10 * span))
    cuts = {chance.randrange(low, top + 1) for _ in range(chance.randint(0, 7))}
    if chance.random() < 0.3:
        cuts |= {chance.choice(rows).created_at for _ in range(2)}
    ends = [top + 1, *sorted(cuts, reverse=True)]
    starts = [*ends[1:], chance.choice((BEGINNING, low - 1))]
    windows = [Interval(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
    if chance.random() < 0.3:
        chance.shuffle(windows)
    return World(
        server,
        windows,
        at_once=chance.choice((1, 1, 2, 3, 8)),
        page_sizes=(3, 10, 1000),
        is_opened=chance.random() < 0.5,
        chance=chance,
    )


def _rows(chance: random.Random, top: Instant) -> Iterator[StoredRow]:
    """Yields rows from new to old: runs of such as the filter takes, and of such as it leaves out, and quiet times."""
    count, span = chance.choice((3, 20, 60)), chance.choice((100, 3000, 10**5, 10**6)) * SECOND
    step = chance.choice((1, 1, MILLISECOND, SECOND))
    number, time = 0, top
    while number < count:
        matches = chance.random() < 0.5
        for _ in range(chance.randint(1, 30)):
            time -= chance.randrange(0 if chance.random() < 0.1 else 1, max(2, span // count)) // step * step
            number += 1
            yield StoredRow(f"c{number}", time, time, matches=matches or chance.random() < 0.2)
        if chance.random() < 0.2:
            time -= chance.randrange(span)


def _behaviour(chance: random.Random) -> Behaviour:
    filters_late = chance.random() < 0.5
    alike = chance.choice(("exact",) * 6 + READS + ("london",) * 2)
    reads: dict[str, Any] = {"before": alike, "after": alike, "cursor_reads": alike}
    for name in reads:
        if chance.random() < 0.2:
            reads[name] = chance.choice(("exact", *READS))
    return Behaviour(
        filters_late=filters_late,
        page_cap=chance.choice((5, 8, 20, 1000)),
        cursor=chance.choice(("strict", "inclusive")),
        precision=chance.choice((1, 1, MILLISECOND, SECOND)),
        rounding=chance.choice(("cut", "half_up", "half_even")),
        excludes=frozenset(chance.sample(("created_before", "created_after"), chance.choice((0, 0, 0, 1, 2)))),
        compares=chance.choice(("stored", "stored", "served")),
        **reads,
    )


def live(world: World, watch: Watch = lambda walk, request, page: None) -> Ending:
    """Reads all windows of a world, and compares what was handed out, and what was named, with what is there."""
    server, ending = world.server, Ending()
    traits = Traits()
    traits.is_filtered = True
    traits.filter_order.filters = (FILTER,)
    try:
        if world.is_opened:
            _open(server, traits)
        _read(world, traits, ending, watch)
    except ContradictionError:
        ending.is_refused = True
        return ending
    for row in server.rows:
        time = server.served(row.created_at)
        is_wanted = row.matches and any(time in window for window in world.windows)
        times_found = ending.found[row.id]
        assert times_found <= is_wanted, f"{row.id} was handed out {times_found} times, and should be {is_wanted:d}"
        if is_wanted and not times_found and not any(time in doubt.interval for doubt in ending.doubts):
            ending.lost.append(row)
    return ending


def _open(server: ServerModel, traits: Traits) -> None:
    """Asks what a run asks before it walks."""
    newest = PageRequest(1000, ids_only=True)
    page = server.answer(newest)
    traits.observe(newest, page)
    times = page.rows.created_at
    traits.expect(times[0] if times else BEGINNING, None)
    if (question := close_question(times)) is not None:
        traits.observe(question, server.answer(question))


def _read(world: World, traits: Traits, ending: Ending, watch: Watch) -> None:
    server, chance = world.server, world.chance
    waiting = list(world.windows)
    active: list[Walk[StoredRow]] = []
    while waiting or active:
        while waiting and len(active) < world.at_once:
            active.append(Walk(waiting.pop(0), traits, chance.choice(world.page_sizes)))
        walk = chance.choice(active)
        if walk.request is None:
            active.remove(walk)
            continue
        request = walk.request
        page = server.answer(request)
        watch(walk, request, page)
        settled = walk.receive(page)
        ending.found.update(row.id for row in settled.rows.rows)
        ending.doubts += settled.unproven
        assert server.requests < _MOST_REQUESTS, "the walks do not end"


def shrunk(seed: int) -> World:
    """Returns the smallest world found that still loses rows in silence: fewer windows, then fewer rows."""
    least = world(seed)

    def without(windows: list[Interval], rows: list[StoredRow]) -> World:
        return replace(
            least,
            server=ServerModel(rows, least.server.behaviour, seed),
            windows=windows,
            chance=random.Random(seed),
        )

    windows, rows = least.windows, least.server.rows
    has_shrunk = True
    while has_shrunk:
        has_shrunk = False
        for size in (8, 4, 2, 1):
            for at in range(len(windows) - size, -1, -1):
                fewer = windows[:at] + windows[at + size :]
                if fewer and live(without(fewer, rows)).lost:
                    windows, has_shrunk = fewer, True
                    break
            for at in range(len(rows) - size, -1, -1):
                some = rows[:at] + rows[at + size :]
                if some and live(without(windows, some)).lost:
                    rows, has_shrunk = some, True
    return without(windows, rows)


def main(count: int, first: int = 0) -> None:
    """Prints how the worlds end, by whether the filter is applied first or late, and the seeds of those with losses."""
    endings: Counter[tuple[str, str]] = Counter()
    requests: Counter[str] = Counter()
    lost: dict[str, list[int]] = {"first": [], "late": []}
    for seed in range(first, first + count):
        drawn = world(seed)
        kind = "late" if drawn.server.behaviour.filters_late else "first"
        word = live(drawn, _tell if count == 1 else _say_nothing).word
        endings[kind, word] += 1
        requests[kind] += drawn.server.requests
        if word == "lost":
            lost[kind].append(seed)
    for kind, seeds in lost.items():
        words = ", ".join(f"{number} {word}" for (of, word), number in sorted(endings.items()) if of == kind)
        print(f"a filter that is applied {kind}: {words}; {requests[kind]} requests; lost in {seeds}")


def _say_nothing(walk: Walk[StoredRow], request: PageRequest, page: Page[StoredRow]) -> None: ...


def _tell(walk: Walk[StoredRow], request: PageRequest, page: Page[StoredRow]) -> None:
    def at(instant: Instant | None) -> str:
        return "-" if instant is None else "…" if instant == BEGINNING else f"{(instant - T0) / SECOND:.6f}"

    kind = " ".join(word for word in ("ids" if request.ids_only else "", "" if request.filtered else "all") if word)
    print(
        f"[{at(walk.start)}, {at(walk.settled_from)}, {at(walk.end)}) {kind} {request.limit} {dict(request.extra)}"
        f" {at(request.created_after)} to {at(request.created_before)}, cursor {at(request.before_cursor)}:"
        f" {[(row.id, at(time)) for row, time in zip(page.rows.rows, page.rows.created_at, strict=True)][:8]}"
        f" of {len(page)}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
