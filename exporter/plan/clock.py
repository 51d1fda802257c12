"""Which time it is, by clocks that may be wrong: the server's, this machine's, and the times of the newest rows. Pure.

No clock and no single answer decides alone. A time that is too early costs a few rows that are read twice; one that is
too late hides rows for ever. So wherever two clocks differ, the earlier one counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Final

from exporter.contract import DAY, HOUR, MINUTE, SECOND, Instant
from exporter.settings import TrustedClock

#: Clocks that differ by no more agree.
TOLERATED: Final = 2 * MINUTE
#: Clocks that differ by more are of no use until somebody says which one is right.
REFUSED: Final = HOUR
#: No clock is taken to be further ahead than this where nothing else bounds it. Every time zone is less.
DOUBT: Final = DAY

#: Answers that are heard where the first ones tell of clocks that differ.
_OPINIONS: Final = 3
#: Fewer rows than these have no rhythm that a silence could break.
_LEAST_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class ClockSample:
    """What one answer tells of the time when its question was sent, `at` in monotonic seconds.

    `local`: this machine's clock then. `served`: the `Date` of the answer, plus its `Age`, in whole seconds; None where
    there was none. `elapsed`: microseconds from the question to the whole answer.
    """

    at: float
    local: Instant
    served: Instant | None
    elapsed: int

    @property
    def server(self) -> Instant | None:
        """The server's clock then, at the earliest."""
        # A `Date` has whole seconds, and was written after the rows were read.
        return None if self.served is None else self.served - self.elapsed - SECOND

    @property
    def ahead(self) -> int | None:
        """By how much the server's clock is ahead of this machine's: the least difference that explains the answer."""
        if self.served is None:
            return None
        least, most = self.served - self.elapsed - self.local, self.served + SECOND - self.local
        return max(least, min(most, 0))


@dataclass(frozen=True, slots=True)
class Now:
    """The time that is believed, `at` in monotonic seconds. `rows`: no later than this, as the newest rows suggest;
    None where they do not object."""

    at: float
    instant: Instant
    rows: Instant | None = None

    def end(self, lag: int) -> Instant:
        """Where a range without an end of its own ends: `lag` microseconds ago, or right behind the newest row."""
        end = self.instant - lag
        return end if self.rows is None else min(end, self.rows + 1)

    def read_since(self, told: ClockSample, date: Instant | None) -> Instant:
        """An instant at or before which a page had not been read yet. `date`: as the page itself has it.

        A page that is older than the question, from a cache say, is believed to be; but no single answer decides.
        """
        latest = self.instant if self.rows is None else min(self.instant, self.rows)
        latest += round((told.at - self.at) * SECOND)
        if date is None:
            return latest
        return max(min(latest, date - told.elapsed - SECOND), latest - DOUBT)


def needs_another(answers: Sequence[ClockSample]) -> bool:
    """Whether to ask once more, because what was told so far is of clocks that differ, or of one clock alone."""
    differences = [told.ahead for told in answers]
    return len(answers) < _OPINIONS and any(ahead is None or abs(ahead) > TOLERATED for ahead in differences)


def choose_opinion(answers: Sequence[ClockSample]) -> ClockSample:
    """The answer in the middle of those that have a `Date`; where none has, the one by the earliest clock."""
    dated = sorted(((told.ahead, told) for told in answers if told.ahead is not None), key=itemgetter(0))
    if dated:
        return dated[(len(dated) - 1) // 2][1]
    return min(answers, key=lambda told: told.local - round(told.at * SECOND))


def is_refused(told: ClockSample) -> bool:
    """Whether its clocks differ by so much that somebody has to say which one is right."""
    return told.ahead is not None and abs(told.ahead) > REFUSED


def is_doubted(told: ClockSample) -> bool:
    """Whether a run must say that its clocks differ, or that there is one alone."""
    return told.ahead is None or abs(told.ahead) > TOLERATED


def settle(told: ClockSample, newest: Iterable[Instant], trusted: TrustedClock | None) -> Now:
    """The time to go by. `newest`: times of the newest rows of the list, as `row_times` gives them; none where those
    that are known are older ones. `trusted`: the clock that alone is to be believed, which `told` must have."""
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
    """Whether an instant that an earlier run took from a clock lies in the future, by more than clocks may differ."""
    return instant > now + TOLERATED


def trusted_since(read_since: Instant, now: Instant) -> Instant | None:
    """Since when changes may be missing where `read_since` says so, which may be to come: then the clock that it was
    taken from was ahead. None: nothing is known."""
    if not is_to_come(read_since, now):
        return read_since
    # The clock was ahead by a day at most, so the pages were read no earlier than a day before `read_since`.
    return now - DOUBT if read_since - now <= DOUBT else None


def row_times(created_at: Sequence[Instant], updated_at: Sequence[Instant | None]) -> list[Instant]:
    """The times that rows show the source's clock to have reached: one whose `created_at` was made up, in a year to
    come say, was updated no later than it was written."""
    pairs = zip(created_at, updated_at, strict=True)
    return [created if updated is None else min(created, updated) for created, updated in pairs]


def _breaks_off(past: Sequence[Instant], instant: Instant) -> bool:
    """Whether rows that came in a steady stream, from new to old, ended less than a day ago: with the clock behind that
    stamps them, rows that are still to come would have such times."""
    if len(past) < _LEAST_ROWS or instant - past[0] >= DOUBT:
        return False
    longest_pause = max(newer - older for newer, older in pairwise(past))
    return instant - past[0] > max(TOLERATED, 2 * longest_pause)
