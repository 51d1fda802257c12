"""Finds out whether the API applies a filter before it limits a page, or leaves rows out of one that it has limited.

The second shows nothing where it leaves a whole page out (source.md, 14), so that the end of its list is no proof. A
short page tells the two apart, one that would end with a row that the filter leaves out: either it has a row less, or
the next row that the filter takes.
"""

from collections.abc import Generator
from typing import Final, TypeAlias

from msgspec.structs import replace

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.fetch.walk.rows import each_row, ids_of
from exporter.model import Page, PageRequest, RowT

Filter: TypeAlias = tuple[str, str]
#: Answers whether a filter comes first; None where the rows do not tell.
AskingForOrder: TypeAlias = Generator[PageRequest, Page[RowT], bool | None]

#: Rows that share their time with others, or have just changed, tell nothing: this many of a page are tried.
_ROWS_TRIED: Final = 3
#: A filter of which this many pages have told nothing is not tried again.
_MOST_TRIALS: Final = 6


class FilterOrder:
    """Holds what is known of the order in which the API filters and limits a list.

    `filters` are the parameters that leave rows out of the list, each of which may be asked for by itself. With
    `leaves_out_others`, something else leaves out rows as well, and nothing can be shown of that. `ends_late` means
    that one of the filters has been shown to be applied late, or that the list has gone on where it seemed to end.
    """

    def __init__(self) -> None:
        self.filters: tuple[Filter, ...] = ()
        self.leaves_out_others = False
        self.ends_late = False
        self._first: set[Filter] = set()
        self._trials = 0
        # Where the list was taken to end before its filters were tried.
        self._taken: list[Interval] = []

    @property
    def comes_first(self) -> bool:
        """Returns whether all that leaves rows out of the list has been shown to do so before a page is limited."""
        return len(self.filters) > 0 and not self.leaves_out_others and self._first.issuperset(self.filters)

    @property
    def is_untried(self) -> bool:
        """Returns whether a trial might still show something."""
        return not (self.ends_late or self.comes_first) and self._trials < _MOST_TRIALS * len(self.filters)

    def take_end(self, below: Interval) -> None:
        """Notes that the list was taken to end above `below`, because nothing was shown there."""
        if not self.comes_first and self.filters:
            self._taken.append(below)

    def taken(self) -> list[Interval]:
        """Returns where the list was taken to end, once."""
        taken, self._taken = self._taken, []
        return taken

    def learn(self, around: PageRequest, lowest: Instant) -> Generator[PageRequest, Page[RowT], None]:
        """Tries the filters that have told nothing yet, on rows that `around` brings. A row is known at `lowest`."""
        for filter_ in self.filters:
            if filter_ not in self._first and self.is_untried:
                self._trials += 1
                match (yield from _comes_first(filter_, around, lowest)):
                    case True:
                        self._first.add(filter_)
                    case False:
                        self.ends_late = True


def _comes_first(filter_: Filter, around: PageRequest, lowest: Instant) -> AskingForOrder[RowT]:
    every = replace(around, created_after=None, filtered=False, ids_only=True, may_be_refused=True)
    all_rows = yield every
    found = yield replace(every, extra=(filter_,))
    taken = ids_of(found)
    left_out = [
        number
        for number, (row, time, _) in enumerate(each_row(all_rows.rows), start=1)
        if row.id not in taken and time > lowest
    ]
    for number in left_out[:_ROWS_TRIED]:
        page = replace(every, limit=number)
        top = yield page
        first = yield replace(page, extra=(filter_,))
        again = yield page
        if len(top) < number or ids_of(top) != ids_of(again) or top.rows.created_at[-1] <= lowest:
            continue
        if first and first.rows.created_at[-1] < top.rows.created_at[-1]:
            return True
        if len(first) < number and ids_of(first) <= ids_of(top):
            return False
    return None
