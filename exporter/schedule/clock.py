"""Tells the time by clocks that may be wrong: the server's, this machine's, and the times of the newest rows. Pure.

No clock and no single answer decides alone. A time that is too early costs a few rows that are read twice; one that is
too late hides rows forever. So wherever two clocks differ, the earlier one counts.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Final

import msgspec

from exporter.contract import DAY, HOUR, MINUTE, SECOND, Instant
from exporter.settings import TrustedClock

#: Clocks that differ by no more than this agree.
TOLERATED: Final = 2 * MINUTE
#: Clocks that differ by more than this are of no use until somebody says which one is right.
REFUSED: Final = HOUR
#: No clock is assumed to be further ahead than this where nothing else bounds it. Every time zone is less.
DOUBT: Final = DAY

#: This many answers are heard when the first ones show clocks that differ.
_OPINIONS: Final = 3
#: Fewer rows than this have no rhythm that a silence could break.
_LEAST_ROWS: Final = 20


class ClockSample(msgspec.Struct, frozen=True):
    """Holds what one answer tells of the time when its question was sent, `at` in monotonic seconds.

    `local` is this machine's clock then. `served` is the `Date` of the answer, plus its `Age`, in whole seconds, or
    None if there was none. `elapsed` is how many microseconds passed from the question to the whole answer.
    """

    at: float
    local: Instant
    served: Instant | None
    elapsed: int

    @property
    def server(self) -> Instant | None:
        """Returns the server's clock then, at the earliest."""
        # A `Date` has whole seconds, and was written after the rows were read.
        return None if self.served is None else self.served - self.elapsed - SECOND

    @property
    def ahead(self) -> int | None:
        """Returns how far the server's clock is ahead of this machine's: the least that explains the answer."""
        if self.served is None:
            return None
        least, most = self.served - self.elapsed - self.local, self.served + SECOND - self.local
        return max(least, min(most, 0))


class Now(msgspec.Struct, frozen=True):
    """Holds the time that is believed, `at` in monotonic seconds. The newest rows suggest that it is no later than
    `rows`, which is None if they do not object."""

    at: float
    instant: Instant
    rows: Instant | None = None

    def end(self, lag: int) -> Instant:
        """Returns where a range with no end of its own ends: `lag` microseconds ago, or right after the newest row."""
        end = self.instant - lag
        return end if self.rows is None else min(end, self.rows + 1)

    def read_since(self, told: ClockSample, date: Instant | None) -> Instant:
        """Returns an instant at or before which a page had not been read yet. `date` is the page's own.

        A page that is older than the question, as from a cache, is believed to be; but no single answer decides.
        """
        latest = self.instant if self.rows is None else min(self.instant, self.rows)
        latest += round((told.at - self.at) * SECOND)
        if date is None:
            return latest
        return max(min(latest, date - told.elapsed - SECOND), latest - DOUBT)


def needs_another(answers: Sequence[ClockSample]) -> bool:
    """Tells whether to ask once more, because the answers so far show clocks that differ, or only one clock."""
    differences = [told.ahead for told in answers]
    return len(answers) < _OPINIONS and any(ahead is None or abs(ahead) > TOLERATED for ahead in differences)


def choose_opinion(answers: Sequence[ClockSample]) -> ClockSample:
    """Returns the answer in the middle of those that have a `Date`; if none has, the one with the earliest clock."""
    dated = sorted(((told.ahead, told) for told in answers if told.ahead is not None), key=itemgetter(0))
    if dated:
        return dated[(len(dated) - 1) // 2][1]
    return min(answers, key=lambda told: told.local - round(told.at * SECOND))


def is_refused(told: ClockSample) -> bool:
    """Tells whether its clocks differ by so much that somebody must say which one is right."""
    return told.ahead is not None and abs(told.ahead) > REFUSED


def is_doubted(told: ClockSample) -> bool:
    """Tells whether a run must say that its clocks differ, or that there is only one."""
    return told.ahead is None or abs(told.ahead) > TOLERATED


def settle(told: ClockSample, newest: Iterable[Instant], trusted: TrustedClock | None) -> Now:
    """Returns the time to go by. `newest` are the times of the list's newest rows, as `row_times` returns them; none if
    only older ones are known. `trusted` is the only clock to believe, which `told` must have."""
    if trusted == "server" and told.server is not None:
        return Now(told.at, told.server)
    if trusted == "local":
        return Now(told.at, told.local)
    instant = told.local if told.server is None else min(told.local, told.server)
    past = sorted((time for time in newest if time <= instant), reverse=True)
    if told.server is None:
        return Now(told.at, instant, max([*past[:1], instant - DOUBT]))
    return Now(told.at, instant, past[0] if _breaks_off(past, instant) else None)


def is_to_come(instant: Instant, now: Instant) -> bool:
    """Tells whether an instant that an earlier run took from a clock lies ahead by more than clocks may differ."""
    return instant > now + TOLERATED


def trusted_since(read_since: Instant, now: Instant) -> Instant | None:
    """Returns since when changes may be missing if `read_since` says so, or None if nothing is known. A `read_since` in
    the future was taken from a clock that was ahead."""
    if not is_to_come(read_since, now):
        return read_since
    # The clock was ahead by a day at most, so the pages were read no earlier than a day before `read_since`.
    return now - DOUBT if read_since - now <= DOUBT else None


def row_times(created_at: Sequence[Instant], updated_at: Sequence[Instant | None]) -> list[Instant]:
    """Returns the times that rows show the source's clock to have reached. A row whose `created_at` was made up, for
    example in a future year, was updated no later than it was written."""
    pairs = zip(created_at, updated_at, strict=True)
    return [created if updated is None else min(created, updated) for created, updated in pairs]


def _breaks_off(past: Sequence[Instant], instant: Instant) -> bool:
    """Tells whether rows that came in a steady stream, from new to old, ended less than a day ago. If the clock that
    stamps them is behind, rows that are still to come would have such times."""
    if len(past) < _LEAST_ROWS or instant - past[0] >= DOUBT:
        return False
    longest_pause = max(newer - older for newer, older in pairwise(past))
    return instant - past[0] > max(TOLERATED, 2 * longest_pause)
