"""Forecasts how many requests a run makes besides its pages, and how far that may be wrong. Pure.

The figures were measured on runs against the sandbox, of 0 to 12,000 rows in all its shapes, by 1 to 16 workers: a run
splits its work by what it finds, so that only the first questions and the pages are known beforehand.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Final

#: The newest page, and a closer look at it; two more about a status that may be hidden, if that page shows none of it.
_OPENING: Final = 2
_HIDDEN_HIGH: Final = 2
#: With nothing below the start, the beginning is looked for by seven questions, and seven finer ones.
_BEGINNING: Final = 14
#: Each list ends with an empty page, and questions that prove that nothing was left out.
_LIST_LOW, _LIST = 3, 3
#: If one page has all rows, nothing else has shown yet how the API reads bounds.
_LIST_OF_ONE_PAGE: Final = 5
#: A window that is split off costs about the first number more; up to the second where bursts mislead, and up to the
#: third where rows share an instant.
_WINDOW, _WINDOW_HIGH, _WINDOW_TIED = 0.6, 3.0, 10.0
#: If no conversation is near above the end of the range, one is looked for up to five times.
_LIST_HIGH: Final = 10
#: A list of several values is joined out of lists that each worker asks again for where they end.
_JOINED_HIGH: Final = 4.0
#: A sync asks for the newest page and two lists of what has changed; if these prove nothing, it walks.
_SYNC_LOW, _SYNC, _SYNC_HIGH = 3, 3, 18
#: What has changed lies anywhere, so that each worker may look for it in vain as often as this.
_CHANGED_HIGH: Final = 8


@dataclass(frozen=True, slots=True)
class Effort:
    """Holds a number of requests, between two that it will hardly be less or more than."""

    low: int
    likely: int
    high: int

    def __add__(self, more: int) -> "Effort":
        return Effort(self.low + more, self.likely + more, self.high + more)


def export_effort(pages: int, *, workers: int, lists: int, is_open: bool, is_tied: bool) -> Effort:
    """Returns the requests of an export that reads at least this many `pages`, out of this many `lists`.

    It `is_open` if the range has no start, and `is_tied` if many rows share an instant with others.
    """
    first = _OPENING + (_BEGINNING if is_open else 0)
    if not pages:
        return Effort(first, first + 3, first + _HIDDEN_HIGH + _LIST_HIGH)
    windows = min(workers, pages)
    low = first + pages + _LIST_LOW * lists
    high = first + _HIDDEN_HIGH + pages + _LIST_HIGH + round((_WINDOW_TIED if is_tied else _WINDOW_HIGH) * windows)
    if lists > 1:
        high = first + _HIDDEN_HIGH + pages + round(lists * (_LIST_HIGH + _JOINED_HIGH * workers))
    if lists > 1 or is_tied:
        return Effort(low, round(sqrt(low * high)), high)
    likely = first + pages + (_LIST_OF_ONE_PAGE if pages == 1 else round(_LIST + _WINDOW * windows))
    return Effort(low, likely, high)


def sync_effort(pages: int, *, workers: int, stored: int, has_changed: bool) -> Effort:
    """Returns the requests of a sync of `stored` rows, that reads at least this many `pages` of what is new or changed.

    How often it looks where nothing has changed, if something has, cannot be told.
    """
    low, likely, high = _SYNC_LOW, _SYNC, _SYNC_HIGH
    if has_changed:
        high += _CHANGED_HIGH * workers
        likely = round(sqrt(low * high))
    windows = min(workers, pages)
    return Effort(low + pages, max(low, likely) + pages, high + pages + round(_WINDOW_HIGH * windows))
