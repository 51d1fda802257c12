"""Asks the questions that come before the work is split: what the list is like, and roughly where the data begins."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from exporter.contract import BEGINNING, DAY, HOUR, MAX_PAGE_SIZE, MILLISECOND, MINUTE, SECOND, Instant
from exporter.coverage import Coverage, Interval
from exporter.encode.rows import EncodeRow
from exporter.errors import RequestRefusedError, UnplacedError
from exporter.fetch.walk.approach import close_question
from exporter.fetch.walk.rows import Outline, outline
from exporter.model import Page, PageRequest
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import organizations_of
from exporter.schedule import probes
from exporter.schedule.clock import Now, needs_another, row_times
from exporter.tasks import for_each

#: The margins to try, in microseconds. A change of a zone's clocks turns an hour into two; a day is more than either.
_MARGINS: Final = (0, MILLISECOND, SECOND, MINUTE, DAY, 30 * DAY)
#: This many rows are enough to find one of the newest, even if more have arrived since.
_NEAR: Final = 100
#: The number of tries for a sample whose status does not change meanwhile.
_LOOKS: Final = 3
#: This many rows hardly ever come newest first by chance, from an API that keeps no order.
_ORDERED: Final = 8
#: This many rows can be expected to include one with a sensitive field.
_FEW: Final = 3


class Opening(msgspec.Struct):
    """Holds the answers to the first questions.

    `density` is rows a microsecond at the end of the range, if known. `is_hidden` is what the function of that name
    says, and False if it was not asked. `newest` are times of the newest rows before the range's end, as from
    `plan.clock.row_times`, `newest_ids` a few of their ids, and `updated_at` the times of those few that have one, by
    id. `organizations` are those that the newest rows name. `now` is the time to go by, once it is settled. `top` is
    the page of the newest rows of the whole list, without their texts, and `top_since` an instant at or before which it
    had not been read yet; both are None if the end of the range was known. `close_question` is one that was put off:
    see `look_closely`.
    """

    density: float | None = None
    is_hidden: bool = False
    newest: Sequence[Instant] = ()
    newest_ids: tuple[str, ...] = ()
    updated_at: dict[str, Instant] = msgspec.field(default_factory=dict)
    organizations: tuple[str, ...] = ()
    now: Now = msgspec.field(default_factory=lambda: Now(0.0, BEGINNING))
    top: Page[Outline] | None = None
    top_since: Instant | None = None
    close_question: PageRequest | None = None

    def density_from(self, start: Instant) -> float | None:
        """Returns the density of what was created since `start`; None if the first page has all of that."""
        times = self.top.rows.created_at if self.top is not None else ()
        return None if times and times[-1] < start else self.density

    def shown_empty(self, lag: int, newest_row: Instant | None) -> Coverage:
        """Returns where the first page has shown that nothing was created, up to `lag` microseconds before it was read.

        What has no row there is nowhere, however bounds are read: the page is of the newest rows of the whole list. One
        that was asked for up to an end shows nothing of this, nor does one whose rows show no order, or end before the
        time of the `newest_row` that is stored: it may be older than what other questions have brought.
        """
        times = self.top.rows.created_at if self.top is not None else ()
        shows_order = len(set(times)) >= _ORDERED and list(times) == sorted(times, reverse=True)
        if self.top_since is None or not shows_order or (newest_row is not None and newest_row > times[0]):
            return Coverage()
        start, end = times[0] + 1, self.top_since - lag
        return Coverage([Interval(start, end)] if start < end else [])


async def open_list(
    reader: Reader,
    until: Instant | None,
    status: str | None,
    *,
    looks_closely: bool = True,
    doubts_empty: bool = False,
) -> Opening:
    """Asks the first question, then the others at once, and more if the answers show clocks that differ.

    Until something has answered, two questions would only cost what one does twice: a refusal, or a wait.

    `until` is the end of the range if it is known beforehand, and `status` one that may be hidden. `looks_closely` does
    at once what `look_closely` does; `doubts_empty` is as in `is_hidden`. Raises `SourceError`.
    """
    opening = Opening()

    reading = await reader.look(probes.newest(until))
    rows = reading.page.rows
    if until is None:
        opening.top, opening.top_since = outline(reading.page), reading.read_since
    newest = None if until is not None else rows.created_at[0] if rows else BEGINNING
    opening.density, opening.newest = probes.density(rows.created_at), row_times(rows.created_at, rows.updated_at)
    opening.newest_ids = tuple(row.id for row in rows.rows[:_FEW])
    opening.organizations = organizations_of(rows.rows)
    times = zip(opening.newest_ids, rows.updated_at, strict=False)
    opening.updated_at = {identity: time for identity, time in times if time is not None}
    reader.traits.expect(newest, opening.density)

    opening.close_question = close_question(rows.created_at)

    async def look() -> None:
        if looks_closely:
            await look_closely(reader, opening)

    async def look_for_hidden() -> None:
        # A list that shows one row of the status leaves none out.
        is_shown = any(_status(row) == status for row in rows.rows)
        opening.is_hidden = status is not None and not is_shown and await is_hidden(reader, status, doubts_empty)

    await for_each((look, look_for_hidden), lambda ask: ask(), at_once=2)
    while needs_another(reader.told):
        await reader.look(replace(probes.newest(until), limit=1))
    return opening


async def look_closely(reader: Reader, opening: Opening) -> None:
    """Asks up to one of the newest rows, once: if it comes back, the walks need not look for a row above each window.

    Raises `SourceError`.
    """
    request, opening.close_question = opening.close_question, None
    if request is None:
        return
    try:
        # Pages that hold all room there is may wait for the answer.
        page = await _look(reader, request, waits=False, believes=True)
    except RequestRefusedError:
        return  # the API refuses to look that far back
    if page is not None:
        reader.traits.observe(request, page)


async def find_beginning(reader: Reader, range_: Interval, density: float | None, page_size: int) -> Instant:
    """Returns an instant of the range before which there is nothing, or almost nothing. It only guides the splits.

    `density` is rows a microsecond where the range ends, if known. Raises `SourceError`.
    """
    asking = probes.find_beginning(range_, density, page_size)
    try:
        instants = next(asking)
        while True:
            instants = asking.send(await _ask(reader, instants))
    except StopIteration as found:
        beginning: Instant = found.value
        return beginning


async def find_margin(reader: Reader, updated_at: Mapping[str, Instant]) -> Instant | None:
    """Returns how much earlier `updated_after` must ask, so that nothing that was updated since is left out.

    `updated_at` are the times of a few of the newest conversations, by id. Each should come first, or nearly, in a list
    of what was updated since its own time; if it does not come, the API reads the bound in another way (source.md, 14).
    Returns None if it does not come however much earlier was asked. Raises `SourceError`.
    """
    # Late in its minute and hour: had the bound been rounded to the nearest one, the row would not come back.
    late = sorted(updated_at, key=lambda identity: (updated_at[identity] % MINUTE, updated_at[identity] % HOUR))
    for identity in reversed(late):
        for margin in _MARGINS:
            request = PageRequest(_NEAR, updated_after=updated_at[identity] - margin, ids_only=True)
            page = await _look(reader, request)
            if page is not None and identity in {row.id for row in page.rows.rows}:
                return margin
    return None if updated_at else 0


async def is_hidden(reader: Reader, status: str, doubts_empty: bool = False) -> bool:
    """Returns whether an unfiltered list leaves out conversations of `status`, judged by one that it should hold
    (source.md, 7).

    That one is searched without bounds, which the API may read in another way (14). Returns False if there is none of
    that status, or the API does not know it, and True if this cannot be decided: what is then read twice is kept once.
    With `doubts_empty`, an empty answer is asked for once more: no row has to come back that would prove it, and later
    runs do not read again what was read as if nothing were hidden. Raises `SourceError`.
    """
    # The limit is the highest, because an API may drop rows of other statuses from a page after limiting it.
    request = PageRequest(limit=MAX_PAGE_SIZE, status=status, ids_only=True)
    for _ in range(_LOOKS):
        try:
            page = await _look(reader, request, believes=True)
        except RequestRefusedError:
            return False
        if page is None:
            continue
        own = page.rows
        samples = [number for number, row in enumerate(own.rows) if _status(row) in (status, None)]
        if not samples:
            if page or not doubts_empty:
                return False
            doubts_empty = False
            continue
        found = await _is_listed(reader, status, own.rows[samples[-1]], own.created_at[samples[-1]])
        if found is not None:
            return not found
    return True


async def _is_listed(reader: Reader, status: str, sample: EncodeRow, created_at: Instant) -> bool | None:
    """Returns whether the unfiltered list holds the sample, or another row of its status.

    The list is asked for from ever further above, until a row above the sample comes: the sample must then come as
    well, however bounds are read. If that row is more than a page above, this cannot be told. Returns None if the
    status of the sample has changed.
    """
    for reach in (SECOND, MINUTE, HOUR, DAY, 30 * DAY, None):
        before = None if reach is None else created_at + reach
        cursor = None if before is None else before + 1
        request = PageRequest(MAX_PAGE_SIZE, created_before=before, before_cursor=cursor, ids_only=True)
        if (page := await _look(reader, request)) is None:
            continue
        if any(_status(row) == status for row in page.rows.rows):
            return True
        listed = [row for row in page.rows.rows if row.id == sample.id]
        if listed:
            # A conversation that has gone on is listed whether its old status was hidden or not.
            return True if _status(listed[0]) is None else None
        if page and page.rows.created_at[0] > created_at:
            return False
    return False


def _status(row: EncodeRow) -> str | None:
    """Returns the status as served, or None if it was not served."""
    value = getattr(row, "status", None)
    return value if isinstance(value, str) else None


async def _ask(reader: Reader, instants: Sequence[Instant]) -> dict[Instant, bool | None]:
    """Returns whether anything lies at or before each instant, even if nothing places it in time; None if the API
    refuses to say."""
    found: dict[Instant, bool | None] = {}

    async def ask(instant: Instant) -> None:
        request = probes.anything_before(instant)
        try:
            page = await _look(reader, request, believes=True)
        except RequestRefusedError:
            found[instant] = None
            return
        found[instant] = page is None or len(page) > 0
        if page is not None:
            reader.traits.observe(request, page)

    await for_each(instants, ask, at_once=len(instants))
    return found


async def _look(
    reader: Reader, request: PageRequest, *, waits: bool = True, believes: bool = False
) -> Page[EncodeRow] | None:
    """Returns the page, or None if nothing places it in time: that would end a walk, but not a question that only
    guides the work."""
    try:
        return (await reader.look(request, waits=waits, believes=believes)).page
    except UnplacedError:
        return None
