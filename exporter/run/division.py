"""Divides what a run reads among its workers."""

from exporter.contract import BEGINNING, Instant
from exporter.coverage import Interval
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
    """Returns the scheduler that divides `scan` among the workers. `oldest` is roughly where it begins; if it is None,
    the API is asked.

    `density` is the number of rows a microsecond where the range ends, if that is known. Meanwhile, what was put
    off in the `opening` is asked. Raises `SourceError`.
    """
    windows = scan.windows
    if not windows or windows[-1].end != scan.range.end:
        density = None
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

    return scheduler_of(scan, place, page_size, start, density)


def scheduler_of(scan: Scan, place: Place, page_size: int, oldest: Instant, density: float | None) -> Scheduler:
    """Returns what `schedule` does, without a question. `density` is that at the end of the last window."""

    def partition_start(instant: Instant) -> Instant:
        _, interval = place(instant)
        return BEGINNING if interval is None else interval.start

    return Scheduler(scan.windows, oldest, partition_start, page_size, density)
