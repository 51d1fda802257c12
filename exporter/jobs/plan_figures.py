"""Makes the figures of a plan out of what its questions have shown. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Final, Literal

from exporter.contract import BEGINNING, EPOCH
from exporter.coverage import Coverage, Interval
from exporter.jobs.plan_result import PaceFrom, PlannedPartition, PlanResult, RowsFrom, SizesFrom
from exporter.jobs.plan_sizes import Sizes
from exporter.log.recordings import count_recordings
from exporter.log.state import State
from exporter.partitions import key_of, partition_of
from exporter.run.context import RunContext
from exporter.schedule.effort import Effort, export_effort, sync_effort
from exporter.schedule.forecast import Forecast
from exporter.settings import Request, Selection

#: The program starts in about this time.
_START_SECONDS: Final = 0.5
#: This many requests wait for the one before: the first questions, a page, and the proof that nothing is left.
_IN_SEQUENCE: Final = 7
#: A file takes this long to reach the disk, from quick to slow ones, and to be committed.
_DISK_SECONDS: Final = (0.002, 0.015, 0.05)
#: From this share on, rows that share their instant with others cost requests.
_TIED: Final = 0.05
#: Stored rows tell what one takes if there are this many.
_TELLING_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Says which run is planned: its command, the range that it leads to, and what it reads of that."""

    command: Literal["export", "sync"]
    range: Interval
    missing: Coverage


def planned(
    found: State,
    asked: Selection,
    request: Request,
    context: RunContext,
    wanted: Wanted,
    forecast: Forecast,
    rows_from: RowsFrom,
    changed: tuple[int, bool],
    sizes: Sizes,
    paces: list[float],
    questions: int,
) -> PlanResult:
    """Returns what a run would do, by what the questions have shown."""
    settings, rows = context.settings, forecast.rows
    size_of, sizes_from = _stored_sizes(found, sizes)
    partitions = tuple(_partitions(forecast, wanted.missing, request, size_of, settings.target_part_bytes))
    files = sum(partition.files for partition in partitions)
    page_rows = sizes.page_rows if rows > sizes.page_rows > 0 else settings.page_size
    by_id = round(rows * sizes.lacking / max(1, sizes.rows))
    pages = ceil(rows / page_rows) + ceil(changed[0] / page_rows)
    effort = _effort(found, request, wanted, sizes, pages, changed[0], settings.concurrency) + by_id
    pace, pace_from = _pace(context, sizes, paces)
    seconds = _seconds(effort, pace, settings.max_rps, sizes, rows, files * len(request.tables))
    recordings, recording_bytes = _recordings(found, asked, rows, sizes)
    return PlanResult(
        command=wanted.command,
        range_start=wanted.range.period.start,
        range_end=wanted.range.period.end,
        missing=tuple(interval.period for interval in wanted.missing),
        rows=round(rows),
        rows_low=round(forecast.low),
        rows_high=round(forecast.high) if isfinite(forecast.high) else None,
        rows_from=rows_from,
        changed=changed[0],
        changed_is_least=changed[1],
        requests=effort.likely,
        requests_low=effort.low,
        requests_high=effort.high,
        requests_by_id=by_id,
        wire_bytes=round((rows + changed[0]) * sizes.wire_bytes / max(1, sizes.rows)),
        bytes=round(sum(each.files * size_of(each.rows / each.files) for each in partitions)),
        sizes_from=sizes_from,
        files=files * len(request.tables),
        partitions=partitions,
        partition_by=request.partition_by,
        seconds=seconds[1],
        seconds_low=seconds[0],
        seconds_high=seconds[2],
        requests_per_second=round(pace, 3),
        pace_from=pace_from,
        recordings=recordings,
        recording_bytes=recording_bytes,
        questions=questions,
        notes=(*_doubts(forecast), *_notes(sizes, rows, asked, recordings)),
    )


def _effort(
    found: State, request: Request, wanted: Wanted, sizes: Sizes, pages: int, changed: int, workers: int
) -> Effort:
    if wanted.command == "sync":
        return sync_effort(pages, workers=workers, stored=found.totals.rows, has_changed=changed > 0)
    is_open = bool(wanted.missing) and wanted.missing.intervals[0].start <= BEGINNING
    lists = max(1, len(request.lists)) + bool(found.hidden_statuses)
    is_tied = sizes.tied > _TIED * sizes.rows
    return export_effort(pages, workers=workers, lists=lists, is_open=is_open, is_tied=is_tied)


def _seconds(
    effort: Effort, pace: float, max_rps: float | None, sizes: Sizes, rows: float, files: int
) -> tuple[float, ...]:
    """Returns how long a run takes at least, probably, and hardly longer than."""
    # A round trip has begun with the wait for a turn.
    turn = 0.0 if max_rps is None else 1 / max_rps
    waits = _IN_SEQUENCE * max(0.0, sum(sizes.round_trips) / len(sizes.round_trips) - turn)
    work = rows * sizes.encode_seconds / max(1, sizes.rows) + files * sizes.file_seconds
    return tuple(
        round(_START_SECONDS + max(waits, requests / pace, factor * work + files * disk), 3)
        for requests, factor, disk in zip(
            (effort.low, effort.likely, effort.high), (1, 1.5, 3), _DISK_SECONDS, strict=True
        )
    )


def _stored_sizes(found: State, sizes: Sizes) -> tuple[Callable[[float], float], SizesFrom]:
    """Returns what tells how many bytes a file of a number of rows takes at rest, and what that rests on."""
    totals, parts = found.totals, len(found.conversations)
    if not sizes.rows:
        return (lambda _: 0.0), "nothing"
    if totals.rows < _TELLING_ROWS:
        return sizes.files.of, "sample"
    # The rows that exist are larger or smaller than those that were seen; what a small file has besides is the same.
    factor = totals.bytes / (parts * sizes.files.of(totals.rows / parts))
    return (lambda rows: factor * sizes.files.of(rows)), "files"


def _partitions(
    forecast: Forecast, missing: Coverage, request: Request, size_of: Callable[[float], float], part_bytes: int
) -> Iterator[PlannedPartition]:
    rows_of: dict[str, float] = {}
    for gap in missing:
        instant = max(gap.start, EPOCH)
        while instant < gap.end:
            key, interval = partition_of(instant, request.partition_by, request.timezone)
            end = gap.end if interval is None else min(gap.end, interval.end)
            name = key.get(key_of(request.partition_by) or "", "")
            rows_of[name] = rows_of.get(name, 0.0) + forecast.rows_in(Interval(instant, end))
            instant = end
    for name, rows in rows_of.items():
        if rows >= 0.5:
            yield PlannedPartition(name=name, rows=round(rows), files=max(1, ceil(size_of(rows) / part_bytes)))


def _pace(context: RunContext, sizes: Sizes, paces: list[float]) -> tuple[float, PaceFrom]:
    """Returns the requests a second that can be expected."""
    settings, learned = context.settings, paces[-1] if paces else None
    trips = sizes.round_trips
    measured = settings.concurrency * len(trips) / sum(trips) if sum(trips) > 0 else float(settings.concurrency)
    pace: float
    source: PaceFrom
    pace, source = (measured, "round trips") if learned is None else (learned, "earlier run")
    if settings.max_rps is not None and settings.max_rps <= pace:
        return settings.max_rps, "max-rps"
    return pace, source


def _recordings(found: State, asked: Selection, rows: float, sizes: Sizes) -> tuple[int | None, int | None]:
    keeps = found.keeps_recordings if asked.recordings is None else asked.recordings
    if not keeps or not sizes.with_field:
        return None, None
    number = round(rows * sizes.recorded / sizes.rows)
    stored = count_recordings(found)
    size = round(number * stored.media_bytes / stored.stored) if stored.stored else None
    return number, size


def _notes(sizes: Sizes, rows: float, asked: Selection, recordings: int | None) -> Iterator[str]:
    if rows >= 1 and not sizes.rows:
        yield "no page came with rows, so that their size is not known"
    if asked.recordings and recordings is None and rows >= 1:
        yield "the rows do not say which conversations have a recording"


def _doubts(forecast: Forecast) -> Iterator[str]:
    """Says why less is known of the rows than usual."""
    if forecast.is_contradicted:
        yield "the usage summary and the pages contradict each other; exporter reconcile compares them day by day"
    if forecast.is_cut:
        yield "an instant has more rows than a page shows, and nothing tells how many"
    elif not isfinite(forecast.high):
        yield "pages tell only how many rows there are at least: too few came, or they contradict each other"
