"""Divides what a run reads among its workers."""

from exporter.contract import BEGINNING, Instant
from exporter.coverage import Interval
from exporter.errors import ExporterError
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.probe import Opening, find_beginning, look_closely
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.schedule.homes import Place
from exporter.schedule.scheduler import Scheduler
from exporter.tasks import alongside


async def schedule(
    scan: Scan,
    reader: Reader,
    place: Place,
    page_size: int,
    oldest: Instant | None = None,
    density: float | None = None,
) -> Scheduler:
    """Returns the scheduler that divides `scan` among the workers. `oldest` is roughly where it begins; if it is None,
    the API is asked.

    `density` is the number of rows a microsecond where the range ends, if that is known. Raises `SourceError`.
    """
    windows = scan.windows
    if not windows or windows[-1].end != scan.range.end:
        density = None
    if oldest is None and windows:
        oldest = await find_beginning(reader, Interval(windows[0].start, windows[-1].end), density, page_size)

    def partition_start(instant: Instant) -> Instant:
        _, interval = place(instant)
        return BEGINNING if interval is None else interval.start

    return Scheduler(windows, BEGINNING if oldest is None else oldest, partition_start, page_size, density)


async def run_looking(pipeline: Pipeline, reader: Reader, opening: Opening) -> None:
    """Runs the pipeline, and asks meanwhile what was put off in the `opening`: the walks go on without the answer, and
    ask a little less once it is there. Raises the errors of `Pipeline.run`."""

    async def look() -> None:
        try:
            await look_closely(reader, opening)
        except ExporterError as error:
            pipeline.stop(error)

    async with alongside(look):
        await pipeline.run()
