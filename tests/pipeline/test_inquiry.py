"""Tests what is asked beside the first pages."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from exporter.contract import DAY, SECOND, Instant
from exporter.coverage import Interval
from exporter.encode.decode import Decoder
from exporter.errors import AccessError
from exporter.fetch.walk.approach import close_question
from exporter.fetch.wire.answer import Answer
from exporter.model import PageRequest
from exporter.pipeline.halt import Halt
from exporter.pipeline.inquiry import Inquiry
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.probe import Opening, open_list
from exporter.pipeline.reader import Reader
from exporter.progress import Quiet
from exporter.schedule.scheduler import Scheduler
from tests.fetch.walk.server_model import Behaviour, ServerModel, StoredRow
from tests.pipeline import harness
from tests.pipeline.harness import ModelSource

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

T0 = 1_770_000_000 * SECOND
RANGE = Interval(T0 - 30 * DAY, T0 + SECOND)


class Held(ModelSource):
    """Answers the first question, and each further one when all that is asked at once has come."""

    expected: Callable[[], bool] = bool
    seen: list[bool]

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        await anyio.wait_all_tasks_blocked()
        self.seen.append(self.expected())
        return await super().get_page(request, fits)


async def opened() -> tuple[Held, Reader, Opening]:
    rows = [StoredRow(f"c{number}", T0 - number * 7 * SECOND) for number in range(200)]
    source = Held(ServerModel(rows, Behaviour()))
    source.seen = []
    reader = Reader(source, Decoder(None), Quiet(), ByteBudget(Shares.of(1 << 29, 8)), concurrency=4, max_rps=None)
    opening = await open_list(reader, RANGE.end, None, looks_closely=False)
    source.expected = lambda: reader.traits.expects_close_bounds
    source.seen.clear()
    return source, reader, opening


async def test_until_it_is_known_how_bounds_are_read_they_are_taken_to_be_read_closely() -> None:
    source, reader, opening = await opened()
    scheduler, halt, woken = Scheduler([RANGE], None, lambda instant: instant), Halt(), list[bool]()

    async def find() -> Instant:
        assert not reader.traits.reads_closely
        return RANGE.start

    inquiry = Inquiry(opening, find)
    async with anyio.create_task_group() as group:
        group.start_soon(inquiry.make, reader, scheduler, halt, lambda: woken.append(True))
        with anyio.fail_after(10):
            await inquiry.has_looked()
    assert source.seen == [True]
    assert (reader.traits.expects_close_bounds, reader.traits.reads_closely) == (False, True)
    assert (scheduler.oldest, halt.is_at_once, len(woken)) == (RANGE.start, False, 2)


async def test_a_question_that_fails_ends_the_run_and_lets_nobody_wait() -> None:
    source, reader, opening = await opened()

    def refuse(_: int) -> None:
        raise AccessError("revoked")

    source.before = refuse
    scheduler, halt = Scheduler([RANGE], RANGE.start, lambda instant: instant), Halt()
    inquiry = Inquiry(opening)
    await inquiry.make(reader, scheduler, halt, lambda: None)
    await inquiry.has_looked()
    assert isinstance(halt.failure, AccessError)
    assert not reader.traits.expects_close_bounds


async def test_where_nothing_was_put_off_nobody_waits() -> None:
    source, reader, _ = await opened()
    inquiry = Inquiry()
    await inquiry.make(reader, Scheduler([RANGE], RANGE.start, lambda instant: instant), Halt(), lambda: None)
    await inquiry.has_looked()
    assert source.seen == []


class Large(ModelSource):
    """Ignores `fields`, and answers the question for one row when pages wait for that answer."""

    has_waited = False

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        if request.limit == 1 and request.ids_only and not self.has_waited:
            self.has_waited = True
            await anyio.wait_all_tasks_blocked()
        return await super().get_page(replace(request, ids_only=False), fits)


async def test_a_question_that_pages_wait_for_needs_no_room_that_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [StoredRow(f"c{number}", T0 - number * 7 * SECOND, size=2000) for number in range(40)]
    rows[8] = replace(rows[8], size=13_700)
    question = close_question([rows[0].created_at, rows[8].created_at])
    inquiry = Inquiry(Opening(close_question=question))
    monkeypatch.setattr(harness, "Pipeline", partial(Pipeline, inquiry=inquiry))
    shares = Shares(40_000, 60_000, 0, 1 << 24)
    shares = replace(shares, in_flight=shares.cost(1, shares.largest_page))
    destination = harness.Destination(tmp_path, RANGE, shares=shares)
    with anyio.fail_after(60):
        await destination.run(Large(ServerModel(rows, Behaviour())))
    await destination.load()
    assert len(destination.rows()) == len(rows)
