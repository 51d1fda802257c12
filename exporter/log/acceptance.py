"""Remembers doubts that somebody has accepted, so that a doubt which nobody has seen yet can be told from them. Pure.

What is accepted is the content of a doubt. A time is the same doubt for as long as it ends in the accepted interval,
with the accepted reason and no more rows, wherever another reading is divided. A row in quarantine never changes within
its file, and a file that keeps the rest of an accepted one says so (`QuarantineFile.rest_of`); each row that comes
later, or comes back with another content or reason, is in a new file. Of rows without sensitive fields, no more than
the accepted number may lie where they were accepted, because merges move the windows that count them.

Nothing here grows with the number of rows.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.log.doubts import joined
from exporter.model import DataFile, QuarantineFile, Unproven


class WithheldRows(msgspec.Struct, frozen=True, order=True):
    """Counts the rows of an interval that came without sensitive fields, while other rows of the export have them."""

    interval: Interval
    rows: int


class Doubts(msgspec.Struct, frozen=True, kw_only=True):
    """Holds everything about an export that is in doubt."""

    unproven: tuple[Unproven, ...] = ()
    quarantine: tuple[QuarantineFile, ...] = ()
    withheld: tuple[WithheldRows, ...] = ()

    def __len__(self) -> int:
        """Returns the number of times, of rows in quarantine, and of intervals with withheld fields."""
        return len(self.times) + sum(file.rows for file in self.quarantine) + len(self.withheld)

    @property
    def times(self) -> tuple[Unproven, ...]:
        """Returns the unproven times, each once, in however many pieces the log has it."""
        return joined(self.unproven)


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """Names the `doubts` that somebody has accepted, `at` what time, `by` whom, and with what `note`."""

    at: Instant
    by: str
    doubts: Doubts
    note: str | None = None


def withheld_rows(files: Iterable[DataFile]) -> tuple[WithheldRows, ...]:
    """Returns the withheld rows of `files`, in intervals that do not touch."""
    counted = [WithheldRows(file.window, file.withheld_rows) for file in files if file.withheld_rows]
    return _by_interval(Coverage(one.interval for one in counted), counted)


def new_doubts(doubts: Doubts, acceptances: Collection[Acceptance]) -> Doubts:
    """Returns the `doubts` that none of the `acceptances` names."""
    if not acceptances:
        return doubts
    known, times = {file.path for one in acceptances for file in one.doubts.quarantine}, times_of(acceptances)
    withheld = [rows for one in acceptances for rows in one.doubts.withheld]
    places = Coverage(rows.interval for rows in (*doubts.withheld, *withheld))
    accepted = {rows.interval: rows.rows for rows in _by_interval(places, withheld)}
    more = (
        WithheldRows(rows.interval, rows.rows - accepted.get(rows.interval, 0))
        for rows in _by_interval(places, doubts.withheld)
    )
    return Doubts(
        unproven=tuple(doubt for doubt in doubts.unproven if find_accepted(doubt, times) is None),
        quarantine=tuple(file for file in doubts.quarantine if file.path not in known),
        withheld=tuple(rows for rows in more if rows.rows > 0),
    )


def times_of(acceptances: Iterable[Acceptance]) -> list[Unproven]:
    """Returns the times that somebody has accepted."""
    return [one for acceptance in acceptances for one in acceptance.doubts.unproven]


def find_accepted(doubt: Unproven, accepted: Iterable[Unproven]) -> Unproven | None:
    """Returns which of the `accepted` times a `doubt` is, or is left of; None if it is new.

    The rows of a doubt lie at its end. Where it starts depends on where the windows of a reading are cut, and on the
    row below: it may reach further down than was accepted if it has rows, and none otherwise.
    """
    alike = [one for one in accepted if one.reason == doubt.reason]
    # A doubt starts at the row below it, whose own doubt ends there.
    there = [one for one in alike if one.interval.start < doubt.created_at < one.created_at]
    there += [one for one in alike if doubt.created_at == one.created_at]
    found = min(there, key=lambda one: (one.created_at, -one.rows), default=None)
    if found is None or doubt.rows > found.rows:
        return None
    if not doubt.rows and Coverage([doubt.interval]) - Coverage(one.interval for one in alike):
        return None
    return found


def still_accepted(
    acceptances: Iterable[Acceptance], doubts: Doubts, rest_of: Mapping[str, str]
) -> Iterator[Acceptance]:
    """Yields what the `acceptances` still name once only these `doubts` are left.

    `rest_of` says, by path, which file a new file of the quarantine holds the rest of.
    """
    acceptances = tuple(acceptances)
    room, times = {rows.interval: rows.rows for rows in doubts.withheld}, times_of(acceptances)
    known = [(doubt, found) for doubt in doubts.unproven if (found := find_accepted(doubt, times)) is not None]
    for acceptance in acceptances:
        accepted = acceptance.doubts
        paths = {file.path for file in accepted.quarantine}
        left = Doubts(
            # A later reading may have shown fewer of the accepted rows.
            unproven=tuple(
                msgspec.structs.replace(doubt, rows=found.rows) for doubt, found in known if found in accepted.unproven
            ),
            quarantine=tuple(
                file for file in doubts.quarantine if file.path in paths or rest_of.get(file.path) in paths
            ),
            withheld=tuple(_left_of_rows(accepted.withheld, room)),
        )
        if left:
            yield msgspec.structs.replace(acceptance, doubts=left)


def _left_of_rows(accepted: Sequence[WithheldRows], room: dict[Interval, int]) -> Iterator[WithheldRows]:
    """Yields how many of the `accepted` rows are left where, and takes them out of `room`."""
    places = Coverage(room)
    for rows in _by_interval(Coverage((*places, *(rows.interval for rows in accepted))), accepted):
        number = rows.rows
        for place in places & Coverage([rows.interval]):
            if left := min(number, room[place]):
                yield WithheldRows(place, left)
            number, room[place] = number - left, room[place] - left


def _by_interval(places: Coverage, counted: Iterable[WithheldRows]) -> tuple[WithheldRows, ...]:
    """Sums up the rows in each interval of `places`, of which one holds each counted interval."""
    starts = [place.start for place in places]
    sums = Counter[Interval]()
    for rows in counted:
        sums[places.intervals[bisect_right(starts, rows.interval.start) - 1]] += rows.rows
    return tuple(WithheldRows(place, sums[place]) for place in places if sums[place])
