"""Divides what a run reads among its workers."""

from collections.abc import Callable
from functools import partial

from exporter.contract import BEGINNING, Instant
from exporter.coverage import Coverage, Interval
from exporter.log.state import State
from exporter.pipeline.inquiry import Inquiry
from exporter.pipeline.probe import Opening, find_beginning, look_closely
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.schedule.homes import Place
from exporter.schedule.scheduler import Scheduler
from exporter.tasks import for_each


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
) -> tuple[Instant, float | None]:
    """Returns roughly where `scan` begins, for which the API is asked if `oldest` is None, and the number of rows a
    microsecond where it ends, if that is known.

    `density` is the same where the range ends. Meanwhile, what was put off in the `opening` is asked. Raises
    `SourceError`.
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
    return start, density


async def prepare(
    scan: Scan,
    reader: Reader,
    page_size: int,
    oldest: Instant | None,
    density: float | None,
    opening: Opening,
    *,
    asks_beside: bool,
) -> tuple[Inquiry, Instant | None, float | None]:
    """Returns what `survey` returns, after what is left to ask beside the first pages.

    With `asks_beside`, that is all that `survey` would ask. Where `scan` begins is None if nothing is known of it until
    then. Raises `SourceError`.
    """
    windows = scan.windows
    if not (asks_beside and windows):
        return Inquiry(), *await survey(scan, reader, page_size, oldest, density, opening)
    density = _density_at_end(scan, density)
    if oldest is not None:
        return Inquiry(opening), oldest, density
    whole = Interval(windows[0].start, windows[-1].end)
    # A range with a beginning hardly ever begins long before its data.
    start = None if whole.open_below else whole.start
    return Inquiry(opening, partial(find_beginning, reader, whole, density, page_size)), start, density


def covered_by(state: State, range_: Interval, oldest: Instant | None) -> int:
    """Returns how much of the range was read before, in microseconds, from where its data roughly begins, if known."""
    bottom = min(range_.end if oldest is None else oldest, state.oldest_row or range_.end)
    start = max(range_.start, min(bottom, range_.end - 1))
    return (state.coverage & Coverage([Interval(start, range_.end)])).length


def _density_at_end(scan: Scan, density: float | None) -> float | None:
    return density if scan.windows and scan.windows[-1].end == scan.range.end else None


def partition_starts(place: Place) -> Callable[[Instant], Instant]:
    """Returns what tells where the partition starts that an instant falls into."""

    def start(instant: Instant) -> Instant:
        _, interval = place(instant)
        return BEGINNING if interval is None else interval.start

    return start
