"""Tests that a foreseen page is asked for beside the one before it, and lets go of its room if nobody wants it."""

from dataclasses import dataclass, field

import anyio
import pytest

from exporter.contract import SECOND
from exporter.coverage import Interval
from exporter.errors import SourceError
from exporter.model import PageRequest
from exporter.pipeline.pages import WalkPages
from exporter.pipeline.scan import Scan

FIRST, SECOND_ONE, OTHER = PageRequest(1000), PageRequest(1000, created_before=5), PageRequest(1000, created_before=7)


@dataclass
class FakeRoom:
    released: int = 0

    def release(self) -> None:
        self.released += 1


@dataclass
class FakeReading:
    request: PageRequest
    room: FakeRoom = field(default_factory=FakeRoom)


@dataclass
class FakeReader:
    """Answers only when as many questions are under way as `together`; fails for `refused`."""

    together: int = 1
    refused: PageRequest | None = None
    asked: list[tuple[PageRequest, bool]] = field(default_factory=list)
    given: list[FakeReading] = field(default_factory=list)
    enough: anyio.Event = field(default_factory=anyio.Event)

    def portions(self) -> None:
        """Has nothing to say."""

    async def read(self, request: PageRequest, portions: None, *, waits: bool) -> FakeReading:
        self.asked.append((request, waits))
        if len(self.asked) >= self.together:
            self.enough.set()
        await self.enough.wait()
        if request == self.refused:
            await anyio.lowlevel.checkpoint()
            raise SourceError("refused")
        self.given.append(FakeReading(request))
        return self.given[-1]


def pages_of(reader: FakeReader) -> WalkPages:
    return WalkPages(reader, Scan(range=Interval(0, SECOND)))  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_both_are_asked_at_once_and_the_second_is_not_asked_again() -> None:
    reader = FakeReader(together=2)
    pages = pages_of(reader)
    with anyio.fail_after(10):
        first = await pages.read(FIRST, waits=True, foreseen=SECOND_ONE)
        second = await pages.read(SECOND_ONE, waits=True)
    assert [first.request, second.request] == [FIRST, SECOND_ONE]  # type: ignore[attr-defined]
    # Only a walk that holds no room may wait for it.
    assert sorted(reader.asked, key=lambda one: not one[1]) == [(FIRST, True), (SECOND_ONE, False)]
    pages.drop()
    assert [one.room.released for one in reader.given] == [0, 0]


@pytest.mark.anyio
async def test_what_was_foreseen_wrongly_is_dropped() -> None:
    reader = FakeReader()
    pages = pages_of(reader)
    await pages.read(FIRST, waits=True, foreseen=SECOND_ONE)
    await pages.read(OTHER, waits=True)
    assert {one.request: one.room.released for one in reader.given} == {FIRST: 0, SECOND_ONE: 1, OTHER: 0}


@pytest.mark.anyio
async def test_what_has_come_is_released_when_the_other_fails() -> None:
    reader = FakeReader(together=2, refused=FIRST)
    with pytest.raises(SourceError, match="refused"):
        await pages_of(reader).read(FIRST, waits=True, foreseen=SECOND_ONE)
    assert [one.room.released for one in reader.given] == [1]
