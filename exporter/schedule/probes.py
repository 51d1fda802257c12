"""Finds about where the data begins, if not at the start of the range, and how dense it is where the range ends.

A few cheap questions are asked, all at once. The answers only guide how the work is split. That nothing is older is
proven by the walk of the oldest window.
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Final, TypeAlias

from exporter.contract import ALWAYS_FIELDS, BEGINNING, DAY, EPOCH, SECOND, Instant
from exporter.coverage import Interval
from exporter.model import PageRequest

#: Yields instants to ask about, is sent for each whether there is anything at or before it (None if the API refuses to
#: say), and returns an instant.
Asking: TypeAlias = Generator[list[Instant], dict[Instant, bool | None], Instant]

_DAYS_BACK: Final = (1, 7, 30, 91, 365, 1095, 3650)
_FINER_STEPS: Final = 7
#: One more question is nothing beside this many pages.
_MANY_PAGES: Final = 100
#: The data begins early when it begins in the first of this many parts of the range.
_EARLY: Final = 8
#: This many rows are enough to tell how dense the data is, and a small page.
_NEWEST_ROWS: Final = 100
#: Asks for whose rows they are as well, whatever fields the export has.
NAMING_OWNERS: Final = (("fields", ",".join((*ALWAYS_FIELDS, "organization_id"))),)


def coarse(until: Instant) -> list[Instant]:
    """Returns instants to ask about first, from new to old."""
    return [until - days * DAY for days in _DAYS_BACK if until - days * DAY > BEGINNING]


def finer(until: Instant, oldest: Instant, newer: Instant | None) -> list[Instant]:
    """Returns instants between `oldest`, before which there is nothing, and the next newer one asked about."""
    top = until if newer is None else newer
    step = (top - oldest) // (_FINER_STEPS + 1)
    return [top - step * number for number in range(1, _FINER_STEPS + 1)] if step else []


def anything_before(instant: Instant) -> PageRequest:
    """Returns the request that asks whether there is a conversation at or before `instant`: one row, or none.

    It has a lower bound, without which an API may show less (source.md, 14).
    """
    return PageRequest(1, min(EPOCH, instant), created_before=instant, before_cursor=instant + 1, ids_only=True)


def find_beginning(range_: Interval, density: float | None, page_size: int) -> Asking:
    """Yields instants to ask about at once, is sent whether anything lies at or before each, and returns an instant of
    the range before which there is nothing, or almost. An API that refuses a bound would also refuse a walk that ends
    there, so the instant is one that it answered, if there is any.

    In a range that is not open below, that is worth a question only if it is long, at `density` rows a microsecond.
    """
    if not range_.open_below:
        length = range_.end - range_.start
        if density is None or density * length < _MANY_PAGES * page_size:
            return range_.start
        early = range_.start + length // _EARLY
        if (yield [early])[early]:
            return range_.start
    asked = yield coarse(range_.end)
    oldest, newer = beginning(asked.items())
    asked |= yield finer(range_.end, oldest, newer)
    oldest, newer = beginning(asked.items())
    if newer is not None and asked[oldest] is None:
        oldest = newer
    return max(oldest, range_.start)


def newest(until: Instant | None) -> PageRequest:
    """Returns the request for what lies at the end of the range, or of the list if `until` is None, and whose it is."""
    return PageRequest(limit=_NEWEST_ROWS, created_before=until, ids_only=True, extra=NAMING_OWNERS)


def density(times: Sequence[Instant]) -> float | None:
    """Returns the rows a microsecond, by the answer to `newest`, or None when there are too few to tell.

    `times` are the `created_at` of its rows, from new to old.
    """
    if len(times) < _NEWEST_ROWS or times[0] <= times[-1]:
        return None
    return len(times) / max(SECOND, times[0] - times[-1])


def beginning(asked: Iterable[tuple[Instant, bool | None]]) -> tuple[Instant, Instant | None]:
    """Returns the newest of these instants with nothing at or before it, and the next newer one.

    If something lies before all of them, the oldest one stands in for the beginning.
    """
    descending = sorted(asked, reverse=True)
    newer: Instant | None = None
    for instant, is_anything in descending:
        if not is_anything:
            return instant, newer
        newer = instant
    return (newer if newer is not None else BEGINNING), None
