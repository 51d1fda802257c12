"""Tests what is asked beside the first pages."""

from collections.abc import Callable

import anyio
import pytest

from exporter.contract import DAY, SECOND, Instant
from exporter.coverage import Interval
from exporter.encode.decode import Decoder
from exporter.errors import AccessError
from exporter.fetch.wire.answer import Answer
from exporter.model import PageRequest
from exporter.pipeline.halt import Halt
from exporter.pipeline.inquiry import Inquiry
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.probe import Opening, open_list
from exporter.pipeline.reader import Reader
from exporter.progress import Quiet
from exporter.schedule.scheduler import Scheduler
from tests.fetch.walk.server_model import Behaviour, ServerModel, StoredRow
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
