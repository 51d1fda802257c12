"""`exporter reconcile` compares the platform's own totals, which it bills by, with the conversations that are stored.

The summary is asked for first, a request for each 364 days, so that a token that lacks the right reads no file. Nothing
is changed, and no lock is taken; only the journal says that there was one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from anyio import to_thread

from exporter.contract import BEGINNING, DAY, EPOCH, Instant
from exporter.coverage import Coverage, Interval
from exporter.errors import StoreError, UsageError
from exporter.jobs.reconcile_days import Facts, Question, compare
from exporter.jobs.reconcile_erasures import Taken, taken_by
from exporter.jobs.reconcile_reading import Comparable, comparable_by, narrowing
from exporter.jobs.reconcile_result import CountedAs, ReconcileResult
from exporter.jobs.reconcile_tally import TELLING_COLUMNS, Tally, is_of_one_day
from exporter.log.commits import load_commits, load_state
from exporter.log.expiry import field_floors, row_floor
from exporter.log.quarantine import created_at_of
from exporter.log.state import State, state_name
from exporter.model import DataFile, QuarantineFile
from exporter.parts.cipher import current, using
from exporter.parts.integrity import opened
from exporter.pipeline.quarantine_files import read_lines
from exporter.run.connect import open_reader
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher_if_here
from exporter.run.reconcile import between, in_stored_zone, missed_by, settle_request, shown, stored_export
from exporter.run.record import note_checked
from exporter.run.usage import UsageSummary, merged, read_earlier_usage, read_usage
from exporter.settings import Request, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.words import key_value
from exporter.zones import UTC_NAME

#: What cannot be compared without a column.
_WITHOUT: Final = {
    "channel": "voice, chat and minutes are",
    "direction": "inbound and outbound are",
    "status": "whether token_created counts is",
    "duration": "minutes are",
}
#: Rows this far from a day may count on it, in another time zone or because a conversation lasted into it.
_AROUND = 2 * DAY
#: Before the first row that is stored, the platform is asked for this much as well: it is one request all the same.
_BEFORE = 360 * DAY


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """Holds what is stored, as it can be compared. If it `is_sealed`, it was counted without being read; then the days
    of some of it may not be known, which is `unreadable`."""

    tally: Tally
    quarantined: tuple[Instant, ...]
    unreadable: Coverage
    is_sealed: bool
    erased: tuple[Taken, ...] = ()


async def reconcile(
    destination: Location, asked: Selection, context: RunContext, *, now: Instant, days_in: str | None = None
) -> ReconcileResult:
    """Compares the days that are asked for, or all that the export is for, up to `now`.

    The days of the summary are those of `days_in`; if it is not given, those of UTC or of the export's time zone.
    Raises `ExporterError`: `DestinationError` if there is no export, `UsageError` if there is no day to compare, and
    `AccessError` if the token lacks `billing:manage`.
    """
    began = context.clock()
    async with open_store(destination) as store:
        state = await load_state(store)
        stored_export(state, destination)
        asked = in_stored_zone(state, asked)
        request = settle_request(state, asked, destination)
        days = _days_asked(state, asked, destination, now)
        async with open_reader(request, context) as reader:
            summaries = await read_usage(reader, days.start, days.end)
            if _is_open_below(state, asked):
                earlier, first = await read_earlier_usage(reader, days.start)
                summaries, days = (*earlier, *summaries), Interval(first, days.end)
            spent = reader.counters
        zones = (days_in,) if days_in else tuple(dict.fromkeys((UTC_NAME, request.timezone)))
        try:
            with using(find_cipher_if_here(context.keys)(state)):
                stored = await _read_stored(store, state, days, zones)
            if state.privacy.erasures:
                stored = replace(stored, erased=taken_by(await load_commits(store)))
        except StoreError as error:
            if (await load_state(store)).number == state.number:
                raise
            raise StoreError(f"{destination}: another run has changed this export meanwhile; run again") from error
        by = comparable_by(stored.tally.readable, _heeded(request))
        found = await to_thread.run_sync(compare, _question(state, days, summaries, stored, by, now))
        result = ReconcileResult(
            state=state_name(state),
            generation=state.number,
            start=days.period.start,
            end=days.period.end,
            counted_as=CountedAs.of(found),
            days=found.days,
            comparable=not by.partial,
            limits=(*_limits(state, request, stored, by, summaries),),
            requests=spent.requests,
            seconds=round(context.clock() - began, 3),
        )
        is_whole = asked.since is None and asked.until is None
        await note_checked(store, "reconcile", result, state.number, is_whole=is_whole)
        return result


def _days_asked(state: State, asked: Selection, destination: Location, now: Instant) -> Interval:
    """Returns what to compare. Raises `UsageError` if there is nothing."""
    _, range_ = stored_export(state, destination)
    bounds = between(range_, asked)
    if not bounds:
        raise UsageError(f"nothing to compare: {destination} {missed_by(range_, asked)}")
    ((start, end),) = ((one.start, min(one.end, now)) for one in bounds)
    if start == BEGINNING:
        start = min(state.oldest_row or end, end - _BEFORE) // DAY * DAY
    # Earlier than that there was no conversation, and each year is a request.
    start = max(start, EPOCH)
    if start >= end:
        raise UsageError("nothing to compare: all of that is still to come, by this machine's clock")
    return Interval(start, end)


def _is_open_below(state: State, asked: Selection) -> bool:
    """Returns whether the export is for all that there ever was, and so is the question."""
    return state.range is not None and state.range.open_below and asked.since is None


def _heeded(request: Request) -> dict[str, str | tuple[str, ...]]:
    """Returns the filters that the API heeds, and that leave something out."""
    heeded = {name: value for name, value in request.filters.items() if name not in request.ignored_filters}
    return narrowing(heeded)


async def _read_stored(store: Store, state: State, days: Interval, zones: tuple[str, ...]) -> _Stored:
    around = Interval(days.start - _AROUND, days.end + _AROUND)
    files = [
        file for file in state.conversations if file.created_at_max >= around.start and file.created_at_min < around.end
    ]
    is_sealed = current() is None and any(file.key for file in files)
    if is_sealed:
        return _count_sealed(state, files)
    tally = Tally(zones, frozenset(name for name in TELLING_COLUMNS if not _unreadable(state, name)))
    for file in sorted(files, key=lambda file: file.path):
        async with opened(store, file) as path:
            await to_thread.run_sync(tally.add_parts, [path])
    quarantined = [
        created_at_of(line) for misfits in state.quarantine.values() for line in await read_lines(store, misfits)
    ]
    return _Stored(tally=tally, quarantined=tuple(quarantined), unreadable=Coverage(), is_sealed=False)


def _count_sealed(state: State, files: list[DataFile]) -> _Stored:
    """Counts rows that cannot be read, as the log does: a part has those of one day, unless partitions are larger."""
    tally, mixed = Tally((UTC_NAME,), frozenset()), list[Interval]()
    for file in files:
        if is_of_one_day(file, UTC_NAME):
            tally.add_file(file, UTC_NAME)
        else:
            mixed.append(Interval(file.created_at_min, file.created_at_max + 1))
    quarantined = [at for file in state.quarantine.values() for at in _times_of(file)]
    return _Stored(tally=tally, quarantined=tuple(quarantined), unreadable=Coverage(mixed), is_sealed=True)


def _times_of(file: QuarantineFile) -> list[Instant]:
    """Returns a time for each row, if all of the file are of one day."""
    window = file.window
    if window is None or window.start // DAY != (window.end - 1) // DAY:
        return []
    return [window.start] * file.rows


def _unreadable(state: State, column: str) -> str:
    """Returns why a column does not say what the platform counts by; nothing if it does."""
    request, policy = state.request or Request(), state.privacy.policy
    if policy is not None and policy.protects(column):
        return "the policy protects it"
    if request.fields is not None and column not in request.fields:
        return "it is not exported"
    return "old values have expired" if column in field_floors(state.privacy.floors) else ""


def _question(
    state: State, days: Interval, summaries: tuple[UsageSummary, ...], stored: _Stored, by: Comparable, now: Instant
) -> Question:
    facts = Facts(
        range=state.range or days,
        covered=state.coverage,
        reads=state.reads,
        now=now,
        floor=row_floor(state.privacy.floors),
        quarantined=stored.quarantined,
        erased=stored.erased,
        unreadable=stored.unreadable,
        unlisted=not all(summary.is_whole for summary in summaries),
    )
    return Question(there=merged(summaries), tally=stored.tally, facts=facts, by=by, since=days.start, until=days.end)


def _limits(
    state: State, request: Request, stored: _Stored, by: Comparable, summaries: tuple[UsageSummary, ...]
) -> Iterator[str]:
    """Says what cannot be compared, and why."""
    heeded = " ".join(key_value(name, shown(value)) for name, value in _heeded(request).items())
    if by.partial:
        yield f"the export has only what its filters leave ({heeded}): it may have less than the platform counts"
    elif heeded:
        yield f"the export has only what its filters leave ({heeded}), which is compared with {next(iter(by.figures))}"
    if stored.is_sealed:
        yield "files are encrypted, and the key is not here: conversations are counted as the log names them"
    else:
        for column in TELLING_COLUMNS:
            if reason := _unreadable(state, column):
                yield f"{_WITHOUT[column]} not compared, because the export does not tell {column}: {reason}"
    if any(erasure.subjects for erasure in state.privacy.erasures):
        yield "new conversations of erased people are kept out: days on which the platform counts them are named"
    if stored.unreadable:
        yield "without the key, the days of conversations are not known where a file holds several: they are explained"
    if not all(summary.is_whole for summary in summaries):
        total = sum(summary.total.total for summary in summaries)
        yield f"the days that the platform lists do not add up to its total ({total:,}): some are not listed"
