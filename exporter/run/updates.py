"""Finds what was updated by two lists of ids, where these prove that they are whole.

Few conversations change between two syncs, or none. To walk the whole list of what was updated then takes more
questions than rows: each end of it must be proven. Two lists of ids prove as much if

- the first holds the *anchors*: rows that the first page of the run has shown, which were updated since the time that
  is asked for. They show that `updated_after` is read as it is meant, at the very time that is asked for
  (source.md, 14), and that the list was not cut above the lowest of them;
- the second, which begins in the middle of the first and has a lower bound, brings back what the first has from there
  on, and nothing else: the list ends there, wherever and however it is asked for. A limit that came into force after
  the first page would cut the two at different rows, and chance would hardly cut them at the same one;
- the first page of the run was longer, in rows and in bytes: no limit can have cut either (4).

Otherwise nothing is known, and the list is walked. What is listed is read whole by one page, if that brings all of it.
"""

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from exporter.contract import EPOCH, MAX_PAGE_SIZE, SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.encode.rows import EncodeRow
from exporter.errors import RequestRefusedError, UnplacedError
from exporter.fetch.walk.descent import first_below
from exporter.fetch.walk.rows import each_row, ids_of
from exporter.fetch.walk.traits import is_longer
from exporter.fetch.walk.window import Settled
from exporter.model import Page, PageRequest
from exporter.pipeline.probe import Opening, find_margin
from exporter.pipeline.reader import Reader
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.run.session import Session

#: Anchors: enough that a page cut by chance ends among them, and few enough to be listed on top of what has changed.
_ANCHORS: Final = 8


@dataclass(frozen=True, slots=True)
class Updates:
    """Names all rows of `what` that were updated at or after a time: their ids, and the `window` that they lie in, None
    if there are none. `bound` is the one that has brought them, at or before that time, among `listed` rows in all, and
    `read_since` an instant at or before which they had not been listed yet.
    """

    ids: frozenset[str]
    window: Interval | None
    since: Instant
    bound: Instant
    listed: int
    read_since: Instant


async def read_updates(session: Session, since: Instant, spool: Spool) -> bool:
    """Puts aside what was updated at or after `since`, of what was covered when the run began. Returns False, and puts
    nothing aside, if two lists cannot prove what that is, or one page does not bring all of it.

    Raises `SourceError`, and the errors of `SpoolSink`.
    """
    what = session.before.coverage
    if not session.reads_one_list or session.reader.traits.is_filtered or len(what.intervals) > 1:
        return False
    top = session.opening.top
    if top is None or len(top) < min(top.limit, session.before.totals.rows):
        return False  # an API that cuts pages short, by chance or by a limit, may cut two lists alike
    updates = await list_updates(session.reader, session.opening, what, since)
    if updates is None or not (updates.window is None or await _take(session, updates, updates.window, spool)):
        return False
    spool.read_since = min(updates.read_since, spool.read_since or updates.read_since)
    return True


async def find_bound(session: Session, since: Instant | None) -> Instant | None:
    """Returns the bound that asks for what was updated `since`; None asks for everything. Raises `SourceError`."""
    if since is None:
        return None
    margin = await find_margin(session.reader, session.opening.updated_at)
    if margin is not None:
        return since - margin
    session.context.observer.warn(
        "the API leaves out updated rows when asked for them, so that all rows are read again"
    )
    return None


def still_there(session: Session, windows: Coverage) -> Coverage:
    """Returns `windows` without what the first page has shown to be empty, if nothing is stored there either."""
    files = session.log.state.conversations.within(windows)
    held = [Interval(file.created_at_min, file.created_at_max + 1) for file in files]
    empty = session.shown_empty - Coverage(held)
    return windows - Coverage([window for window in windows if Coverage([window]) & empty == Coverage([window])])


async def _take(session: Session, updates: Updates, window: Interval, spool: Spool) -> bool:
    """Puts aside the rows of `updates` if one page brings all of them; returns whether it does."""
    reader, hydrator, page_size = session.reader, session.hydrator, session.context.settings.page_size
    if updates.listed > page_size:
        return False
    reading = await reader.look(PageRequest(page_size, updated_after=updates.bound))
    page, times = reading.page, reading.page.rows.created_at
    if not (_is_in_order(page) and updates.ids <= ids_of(page)):
        return False
    room = await reader.hold(page.size_bytes)
    rows = session.admission.admit(page.rows[first_below(times, window.end) : first_below(times, window.start)])
    scan = replace(session.scan, windows=(window,), updated_since=updates.since)
    writer = SpoolSink(session.stage, spool, reading=1).open_window(window.end, scan)
    try:
        if hydrator is not None and hydrator.has_work(rows, completes=False):
            await hydrator.learn(rows)
        await writer.add(Settled(rows), window.start, reading.read_since)
        await writer.finish(window.start)
    finally:
        writer.abort()
        room.release()
    return True


async def list_updates(reader: Reader, opening: Opening, what: Coverage, since: Instant) -> Updates | None:
    """Returns what of `what` was updated at or after `since`, or None if two lists cannot prove it.

    They are of the whole list, without filters. Raises `SourceError`.
    """
    anchors = _anchors(opening, since)
    if anchors is None or opening.top is None:
        return None
    bound, anchored = anchors
    question = PageRequest(MAX_PAGE_SIZE, updated_after=bound, ids_only=True)
    first = await _list(reader, question)
    if first is None or not anchored <= ids_of(first[0]) or not is_longer(opening.top, first[0]):
        return None
    times = first[0].rows.created_at
    middle, last = times[len(times) // 2], times[-1]
    before = middle + reader.traits.unit - 1
    below = PageRequest(
        MAX_PAGE_SIZE, min(EPOCH, last), before, before + 1, updated_after=bound, ids_only=True, may_be_refused=True
    )
    second = await _list(reader, below)
    lower = first[0].rows[first_below(times, middle + 1) :]
    if second is None or ids_of(second[0]) != {row.id for row in lower.rows} or not is_longer(first[0], second[0]):
        return None
    found = [
        (row.id, created_at)
        for row, created_at, updated_at in each_row(first[0].rows)
        if created_at in what and (updated_at is None or updated_at >= since - SECOND)
    ]
    created = [created_at for _, created_at in found]
    window = Interval(min(created), max(created) + 1) if created else None
    return Updates(
        frozenset(identity for identity, _ in found), window, since, bound, len(first[0]), min(first[1], second[1])
    )


def _anchors(opening: Opening, since: Instant) -> tuple[Instant, set[str]] | None:
    """Returns a time no later than `since`, and the ids of rows of the first page that were updated since then; None if
    there are none."""
    rows = opening.top.rows if opening.top is not None else None
    if rows is None:
        return None
    times = sorted(time for time in rows.updated_at if time is not None and time <= since)
    if not times:
        return None
    bound = times[-min(_ANCHORS, len(times))]
    ids = {row.id for row, _, time in each_row(rows) if time is not None and time >= bound}
    # Where many rows share a time of update, as after an import, a list of what was updated since then is no short one.
    return (bound, ids) if 2 * len(ids) <= len(rows) else None


async def _list(reader: Reader, request: PageRequest) -> tuple[Page[EncodeRow], Instant] | None:
    """Returns a list of ids, from new to old and not full, and since when it may have been read; otherwise None."""
    try:
        reading = await reader.look(request, believes=True)
    except (RequestRefusedError, UnplacedError):
        return None
    page = reading.page
    return (page, reading.read_since) if 0 < len(page) < page.limit and _is_in_order(page) else None


def _is_in_order(page: Page[EncodeRow]) -> bool:
    times = page.rows.created_at
    return not page.is_null and len(ids_of(page)) == len(page) and list(times) == sorted(times, reverse=True)
