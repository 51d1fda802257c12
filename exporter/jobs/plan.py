"""`exporter plan` says what a run would do, from at most 20 requests. It writes nothing, and takes no lock.

Whether the summary of usage may be read, and what the pages show, decides what its figures rest on: rows are counted if
a few pages show them all, taken from the summary where no filter makes it another list, and estimated otherwise.
"""

from dataclasses import replace
from typing import Final

from exporter.contract import BEGINNING, DAY, EPOCH, HIDDEN_STATUS, MAX_PAGE_SIZE, Instant
from exporter.coverage import Coverage, Interval
from exporter.errors import AccessError, RequestRefusedError, UnusableAnswerError
from exporter.jobs.plan_figures import Wanted, planned
from exporter.jobs.plan_result import PlanResult, RowsFrom
from exporter.jobs.plan_sample import Sampler
from exporter.lake.follow import check_place, settle_table_format
from exporter.log.commits import load_state
from exporter.log.journal import read_runs
from exporter.log.state import State
from exporter.model import PageRequest
from exporter.partitions import day_number
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.probe import Opening, is_hidden
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import organizations_of
from exporter.run.clocks import settle_time
from exporter.run.connect import knows_hidden, open_reader
from exporter.run.context import RunContext
from exporter.run.organization import Ownership
from exporter.run.protection import settle_policy, tables_of
from exporter.run.reconcile import check_file_mode, in_stored_zone, known_end, settle_range, settle_request
from exporter.run.usage import usage_between
from exporter.schedule import probes
from exporter.schedule.clock import row_times
from exporter.schedule.forecast import Forecast
from exporter.schedule.survey import Profile
from exporter.settings import Request, Selection
from exporter.store.location import Location
from exporter.store.open import open_store

#: The plan asks no more than this, except again where an answer failed.
MOST_QUESTIONS: Final = 20
#: Where a list begins that has no start is looked for among these many days back.
_DAYS_BACK: Final = (1, 7, 30, 91, 182, 365, 730, 1460, 3650)
#: A request of the usage summary has at most a year, and each costs a question.
_MOST_USAGE: Final = 3 * 364 * DAY
#: An earlier run tells the pace if it made this many requests.
_TELLING_REQUESTS: Final = 50
#: Beside the summary of usage, this many questions show whether it may be right.
_PAGES_BESIDE_USAGE: Final = 8
#: Days of the usage summary may be those of a zone that is so far from UTC.
_ZONE_SHARE: Final = 14 / 24
#: Two counts of the platform, and the export, may differ by this share.
_USAGE_ERROR: Final = 0.02


async def plan(destination: Location, asked: Selection, context: RunContext) -> PlanResult:
    """Returns what an export would do, or a sync if everything that is asked for was read.

    Raises `ExporterError` as that run would before it touches anything.
    """
    check_file_mode(asked, destination)
    check_place(asked.table_format, destination)
    async with open_store(destination) as store:
        await store.check()
        found = await load_state(store)
        runs = await read_runs(store)
    asked = in_stored_zone(found, asked)
    policy = settle_policy(found, asked, destination, context.keys)
    request = settle_request(found, asked, destination)
    settle_table_format(found, asked, destination)
    tables = tables_of(request, policy, context.keys)
    paces = [
        run.requests / seconds
        for run in runs
        if run.command in ("export", "sync")
        and run.requests >= _TELLING_REQUESTS
        and (seconds := (run.ended_at - run.started_at).total_seconds()) > 0
    ]
    async with open_reader(request, context) as reader:
        began = reader.clock()
        latest = await _find_latest(reader, found, known_end(found, asked), context)
        first_trip = reader.clock() - began
        wanted = _choose(found, asked, latest)
        changed = await _count_changed(reader, found, wanted, context)
        hydrator = Hydrator.of(reader, request, context.settings, found.hydrated_fields)
        sampler = Sampler(reader, request, tables, context.settings.page_size, hydrator)
        forecast, rows_from = await _forecast(reader, sampler, wanted.missing, request, found)
        questions = reader.counters.requests
    sizes = sampler.sizes
    sizes.round_trips = sizes.round_trips or [first_trip]
    return planned(found, asked, request, context, wanted, forecast, rows_from, changed, sizes, paces, questions)


async def _find_latest(reader: Reader, found: State, until: Instant | None, context: RunContext) -> Instant:
    """Returns the end of a range that has none of its own.

    Raises `UsageError` if no clock can be believed, and as `Ownership.settle`.
    """
    ownership = Ownership(reader, context.credentials, found.organization, found.totals.rows)
    rows = (await reader.look(probes.newest(until))).page.rows
    opening = Opening(
        newest=row_times(rows.created_at, rows.updated_at),
        newest_ids=tuple(row.id for row in rows.rows[:1]),
        organizations=organizations_of(rows.rows),
    )
    await ownership.settle(opening)
    reader.now = settle_time(reader, opening, until, context)
    return reader.now.end(context.lag)


def _choose(found: State, asked: Selection, latest: Instant) -> Wanted:
    range_ = settle_range(found, asked, latest)
    missing = Coverage([range_]) - found.coverage
    if missing:
        return Wanted("export", range_, missing)
    range_ = Interval(range_.start, max(range_.end, latest))
    return Wanted("sync", range_, Coverage([range_]) - found.coverage)


async def _count_changed(reader: Reader, found: State, wanted: Wanted, context: RunContext) -> tuple[int, bool]:
    """Returns how many stored rows have changed since they were read, and whether a page had no room for more."""
    if wanted.command == "export" or found.read_since is None:
        return 0, False
    since = found.read_since - context.lag
    request = PageRequest(
        MAX_PAGE_SIZE, created_before=found.coverage.intervals[-1].end - 1, updated_after=since, ids_only=True
    )
    page = (await reader.look(request)).page
    rows = sum(at is None or at >= since for at in page.rows.updated_at)
    return rows, rows >= page.limit


async def _forecast(
    reader: Reader, sampler: Sampler, missing: Coverage, request: Request, state: State
) -> tuple[Forecast, RowsFrom]:
    if not missing:
        return Forecast(0, 0, 0, Profile(), is_counted=True), "count"
    start, end = missing.intervals[0].start, missing.intervals[-1].end
    if start <= BEGINNING:
        missing -= Coverage([Interval(BEGINNING, await _find_start(reader, end))])
        start = missing.intervals[0].start
    usage = None
    if not request.filters and DAY <= end - start <= _MOST_USAGE:
        usage = await _forecast_by_usage(reader, missing)
    hides = False
    if "status" not in request.filters:
        hides = knows_hidden(state, request) or await is_hidden(reader, HIDDEN_STATUS)
    left = MOST_QUESTIONS - reader.counters.requests
    # Where the summary counts, pages tell what rows take, and whether it may be right.
    found = await sampler.survey(missing, left if usage is None else min(left, _PAGES_BESIDE_USAGE), hides=hides)
    if found.is_counted:
        return found, "count"
    if usage is None:
        return found, "sample"
    if found.low <= usage.rows <= found.high:
        return usage, "usage"
    # They contradict each other, and either may be wrong.
    low, high = min(found.low, usage.low), max(found.high, usage.high)
    return replace(usage, low=low, high=high, is_contradicted=True), "usage"


async def _find_start(reader: Reader, end: Instant) -> Instant:
    """Returns an instant before which there is nothing, out of a few."""
    low, high = 0, len(_DAYS_BACK)
    while low < high:
        middle = (low + high) // 2
        page = (await reader.look(probes.anything_before(end - _DAYS_BACK[middle] * DAY))).page
        low, high = (middle + 1, high) if page else (low, middle)
    return max(EPOCH, end - _DAYS_BACK[low] * DAY) if low < len(_DAYS_BACK) else EPOCH


async def _forecast_by_usage(reader: Reader, missing: Coverage) -> Forecast | None:
    """Returns how many rows there are by the usage summary; None if this token may not read it, or it says nothing."""
    try:
        days = await usage_between(reader, missing.intervals[0].start, missing.intervals[-1].end)
    except (AccessError, RequestRefusedError, UnusableAnswerError):
        return None
    gaps, doubtful = list[tuple[Interval, float]](), 0.0
    for day in days:
        start = day_number(day.day) * DAY
        whole = Interval(start, start + DAY)
        for part in Coverage([whole]) & missing:
            rows = day.total * (part.end - part.start) / DAY
            gaps.append((part, rows))
            doubtful += min(rows, day.total - rows)
    for edge in (missing.intervals[0].start, missing.intervals[-1].end - 1):
        # A day there may be that of another zone.
        doubtful += _ZONE_SHARE * sum(day.total for day in days if day_number(day.day) == edge // DAY)
    rows = sum(part[1] for part in gaps)
    error = doubtful + _USAGE_ERROR * rows
    return Forecast(rows, max(0.0, rows - error), rows + error, Profile((), tuple(gaps)))
