"""Divides what a run reads among its workers."""

from collections.abc import Callable
from functools import partial
from typing import Final

import anyio

from exporter.contract import BEGINNING, Instant
from exporter.coverage import Interval
from exporter.engine import Engine
from exporter.pipeline.inquiry import Inquiry
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.probe import Opening, find_beginning, look_closely
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.schedule.homes import Place
from exporter.schedule.scheduler import Scheduler
from exporter.tasks import alongside, for_each

#: What looks too little for tasks is read here for this long. Only the end of it was seen: there may be much below.
_ALONE_SECONDS: Final = 15.0


async def schedule(
    scan: Scan,
    reader: Reader,
    place: Place,
    page_size: int,
    oldest: Instant | None = None,
    density: float | None = None,
    opening: Opening | None = None,
) -> Scheduler:
    """Returns the scheduler that divides `scan` among the workers. The other arguments are those of `survey`.

    Raises `SourceError`.
    """
    start, density = await survey(scan, reader, page_size, oldest, density, opening)
    return scheduler_of(scan, place, page_size, start, density)


def scheduler_of(scan: Scan, place: Place, page_size: int, oldest: Instant | None, density: float | None) -> Scheduler:
    """Returns what `schedule` does, without a question. `density` is that at the end of the last window.

    As long as `oldest` is None, nothing is split.
    """
    return Scheduler(scan.windows, oldest, partition_starts(place), page_size, density)


async def survey(
    scan: Scan,
    reader: Reader,
    page_size: int,
    oldest: Instant | None = None,
    density: float | None = None,
    opening: Opening | None = None,
    found: Callable[[Instant], None] | None = None,
) -> tuple[Instant, float | None]:
    """Returns roughly where `scan` begins, for which the API is asked if `oldest` is None, and the number of rows a
    microsecond where it ends, if that is known.

    `density` is the same where the range ends. Meanwhile, what was put off in the `opening` is asked. `found` is also
    told where the scan begins. Raises `SourceError`.
    """
    windows = scan.windows
    density = _density_at_end(scan, density)
    start = BEGINNING if oldest is None else oldest

    async def find() -> None:
        nonlocal start
        if oldest is None:
            start = await find_beginning(reader, Interval(windows[0].start, windows[-1].end), density, page_size)

    async def look() -> None:
        if opening is not None:
            await look_closely(reader, opening)

    if windows:
        await for_each((look, find), lambda ask: ask(), at_once=2)
    if found is not None:
        found(start)
    return start, density


def put_off(
    scan: Scan,
    reader: Reader,
    page_size: int,
    oldest: Instant | None,
    density: float | None,
    opening: Opening,
    found: Callable[[Instant], None] | None,
) -> tuple[Inquiry, Instant | None, float | None]:
    """Returns what asks beside the first pages what `survey` asks before them, and what that returns, as far as it is
    known until then: None if nothing is known of where `scan` begins. `found` is told whatever is known of it."""
    windows, density = scan.windows, _density_at_end(scan, density)
    whole = Interval(windows[0].start, windows[-1].end) if windows else scan.range
    # A range with a beginning hardly ever begins long before its data.
    start = oldest if oldest is not None else None if whole.open_below else whole.start
    if found is not None and start is not None:
        found(start)
    if oldest is not None or not windows:
        return Inquiry(opening if windows else None), start, density

    async def find() -> Instant:
        beginning = await find_beginning(reader, whole, density, page_size)
        if found is not None:
            found(beginning)
        return beginning

    return Inquiry(opening, find), start, density


def _density_at_end(scan: Scan, density: float | None) -> float | None:
    return density if scan.windows and scan.windows[-1].end == scan.range.end else None


def partition_starts(place: Place) -> Callable[[Instant], Instant]:
    """Returns what tells where the partition starts that an instant falls into."""

    def start(instant: Instant) -> Instant:
        _, interval = place(instant)
        return BEGINNING if interval is None else interval.start

    return start


async def read_alone(pipeline: Pipeline, engine: Engine | None) -> None:
    """Runs the pipeline to its end or, if there is an engine that may go on, for a while. Raises as it does."""
    if engine is None:
        await pipeline.run()
        return
    async with alongside(partial(_finish_soon, pipeline)):
        await pipeline.run()


async def _finish_soon(pipeline: Pipeline) -> None:
    await anyio.sleep(_ALONE_SECONDS)
    pipeline.finish()
