"""Reads windows of a modelled server by walks, and checks what they hand out."""

import random
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.fetch.walk.several_lists import JoinedWalk
from exporter.fetch.walk.traits import Traits
from exporter.fetch.walk.two_lists import DoubleWalk
from exporter.fetch.walk.walk import Walk
from exporter.model import Page, PageRequest, Unproven
from tests.fetch.walk.server_model import ServerModel, StoredRow

AnyWalk: TypeAlias = Walk[StoredRow] | DoubleWalk[StoredRow] | JoinedWalk[StoredRow]
#: Returns the number of rows to ask for, at first, and after a page that was given up.
Limiting: TypeAlias = Callable[[PageRequest, Page[StoredRow] | None], int]


def by_limit(request: PageRequest, given_up: Page[StoredRow] | None) -> int:
    return request.limit


def by_whim(chance: random.Random) -> Limiting:
    """Draws another number of rows for each request."""
    return lambda request, given_up: min(request.limit, chance.choice((1, 1, 2, 3, 7, 1000)))


def by_bytes(most_bytes: int) -> Limiting:
    """Asks for a fourth of the rows, down to one, while a page has more than `most_bytes`."""

    def limit(request: PageRequest, given_up: Page[StoredRow] | None) -> int:
        if given_up is None:
            return request.limit
        return given_up.limit if given_up.size_bytes <= most_bytes else max(1, given_up.limit // 4)

    return limit


#: With this many bytes for each unit of `StoredRow.size`, rows of more than 80 units are heavy (256 KiB).
HEAVY_UNIT_BYTES = 3276


class Reader:
    """Drives walks over a model, and gathers what they hand out.

    The walk takes each unit of `StoredRow.size` for `unit_bytes`; ids are as small as ever.
    """

    def __init__(
        self,
        server: ServerModel,
        page_size: int = 1000,
        traits: Traits | None = None,
        limiting: Limiting = by_limit,
        unit_bytes: int = 1,
    ) -> None:
        self.server = server
        self.page_size = page_size
        self.traits = traits or Traits()
        self.limiting = limiting
        self.unit_bytes = unit_bytes
        self.pages = 0
        # The answers to what walks have foreseen that they will ask for.
        self.ahead: dict[AnyWalk, tuple[PageRequest, Page[StoredRow]]] = {}
        self.rows: list[StoredRow] = []
        self.served_at: list[Instant] = []
        self.unproven: list[Unproven] = []

    def walk(self, window: Interval) -> AnyWalk:
        if self.server.behaviour.hides is None:
            return Walk(window, self.traits, self.page_size)
        return DoubleWalk(window, self.traits, self.page_size, self.server.behaviour.hides)

    def step(self, walk: AnyWalk) -> None:
        assert walk.request is not None
        request, page = self.ahead.pop(walk, (None, None))
        if page is None or request != walk.request:
            # Both are asked for at once, so the server may answer the second one first.
            ahead = None if walk.foreseen is None else (walk.foreseen, self.ask(walk.foreseen))
            page = self.ask(walk.request)
            if ahead is not None:
                self.ahead[walk] = ahead
        self.take(walk, page)

    def ask(self, request: PageRequest) -> Page[StoredRow]:
        limit = self.limiting(request, None)
        page = self.server.answer(request if limit == request.limit else replace(request, limit=limit))
        while (fewer := self.limiting(request, page)) < page.limit:
            page = self.server.answer(replace(request, limit=fewer))
        return page

    def take(self, walk: AnyWalk, page: Page[StoredRow]) -> None:
        self.pages += 1
        if not page.is_narrow:
            page = replace(page, size_bytes=page.size_bytes * self.unit_bytes)
        settled = walk.receive(page)
        times = list(settled.rows.created_at)
        assert times == sorted(times, reverse=True)
        assert all(walk.settled_from <= time < walk.end for time in times)
        self.rows += settled.rows.rows
        self.served_at += times
        self.unproven += settled.unproven

    def read(self, window: Interval, most_requests: int = 100_000) -> None:
        walk = self.walk(window)
        for _ in range(most_requests):
            if walk.request is None:
                assert walk.settled_from == walk.start
                return
            self.step(walk)
        raise AssertionError("the walk does not end")


def expected(server: ServerModel, window: Interval) -> Counter[str]:
    return Counter(row.id for row in server.rows if row.matches and server.served(row.created_at) in window)


def check(reader: Reader, window: Interval) -> None:
    """Checks that every row was handed out once, except those of a timestamp that is named as unproven."""
    assert max(Counter(row.id for row in reader.rows).values(), default=1) == 1
    assert all(reader.server.served(row.created_at) in window for row in reader.rows)
    missing = expected(reader.server, window) - Counter(row.id for row in reader.rows)
    doubts = reader.unproven
    silently_lost = [
        row
        for row in reader.server.rows
        if row.id in missing and not any(reader.server.served(row.created_at) in doubt.interval for doubt in doubts)
    ]
    assert not silently_lost
