"""Finds by trial where to ask from, so that the answer goes on from what is known; a run remembers it. Pure.

How an API reads a bound is unknown (source.md, 14): it may cut or round it, shift it by a time zone, exclude it, or
look at its date alone, and it may read `cursor` and `created_before` each in its own way. So a question about what lies
at or below a row carries that row, and its answer is compared with it:

- *too low*: nothing at or above the row came back. What lies between the row and the answer may have been left out.
- *too high*: the page ended before it came to anything new.

A `Search` proposes one `Approach` after another, until an answer is neither or none is left to try.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from exporter.contract import BEGINNING, DAY, END_OF_TIME, EPOCH, HOUR, MILLISECOND, MINUTE, SECOND, Instant
from exporter.model import PageRequest

By: TypeAlias = Literal["both", "bound", "cursor"]

#: The distances above a row to ask from, tried one after another until the row comes back. The last one leaves out the
#: upper bound.
_STEPS: Final[Sequence[Instant]] = (0, MILLISECOND, SECOND, MINUTE, HOUR, DAY, 30 * DAY, END_OF_TIME - BEGINNING)
_UNBOUNDED: Final = _STEPS[-1]
_WAYS: Final[Sequence[By]] = ("both", "bound", "cursor")


class Approach(msgspec.Struct, frozen=True):
    """Represents a way to ask for what lies at or below an instant.

    `by` names the parameters that bound the answer from above. `extra` is how many microseconds above the instant to
    ask from, negative where the API answers with what is later than asked for. With `has_floor`, it sends
    `created_after`.
    """

    by: By = "both"
    extra: Instant = 0
    has_floor: bool = True

    @property
    def is_unbounded(self) -> bool:
        """Returns whether it asks for the newest of the whole list."""
        return self.extra >= _UNBOUNDED


UNBOUNDED: Final = Approach(extra=_UNBOUNDED)


class Search:
    """Represents a search for an approach, which begins with `first`. `approach` is the next to try, if one is left.

    `is_expected` means that a row is known to lie there, so an answer without it was to another question. Then the
    lower bound is left out, the question starts up to a second further up, `created_before` and `cursor` are tried
    alone, and it starts still further up. Where no row is known, there may merely be none that near. Between an answer
    that was too low and one that was too high, the search goes on by halves.
    """

    def __init__(self, first: Approach, *, is_expected: bool) -> None:
        self.approach: Approach | None = first
        #: Nothing was ever too low: the API ignores how it is asked.
        self.is_ignored = False
        #: An answer was too high.
        self.was_high = False
        self._is_expected = is_expected
        self._least = 0 if is_expected else first.extra
        self._has_floor = first.has_floor
        self._least_step: Instant = 0
        self._low: dict[By, Instant] = {}
        self._high: dict[By, Instant] = {}

    @property
    def ends_within_a_microsecond(self) -> bool:
        """Returns whether too low and too high are next to each other, at the row's own time."""
        return self._low.get("both") == -1 and self._high.get("both") == 0

    def too_low(self, least_step: Instant = 0) -> None:
        """Notes that the answer holds nothing at or above the row. The next is asked for from `least_step` above it."""
        self._least_step = least_step
        tried = self._tried()
        if tried.has_floor and (self._is_expected or tried.is_unbounded):
            # All that was too low may have been so because of the lower bound.
            self._low.clear()
            self._has_floor = False
            self.approach = replace(tried, has_floor=False)
            return
        self._low[tried.by] = max(tried.extra, self._low.get(tried.by, tried.extra))
        self.approach = self._next(tried)

    def too_high(self, lead: Instant) -> None:
        """Notes that the page ended before anything new. `lead` is how far above the row its newest one lies."""
        tried = self._tried()
        self.was_high = True
        # To ask from above the newest row of all is to ask from that row.
        extra = min(tried.extra, lead) if tried.is_unbounded else tried.extra
        self._high[tried.by] = min(extra, self._high.get(tried.by, extra))
        if tried.by in self._low:
            self.approach = self._next(tried)
            return
        extra -= max(1, lead, extra // 2, -31 * extra)
        if extra > -_UNBOUNDED:
            self.approach = replace(tried, extra=extra)
            return
        # However little is asked for, it makes no difference.
        other = next((by for by in _WAYS if by not in self._low and by not in self._high), None)
        self.approach = None if other is None else Approach(other, self._least, self._has_floor)
        self.is_ignored = other is None and not self._low

    def _step_above(self, low: Instant) -> Instant | None:
        return next((step for step in (self._least_step, *_STEPS) if step > low), None)

    def _tried(self) -> Approach:
        if self.approach is None:
            raise ValueError("the search has ended")
        return self.approach

    def _next(self, tried: Approach) -> Approach | None:
        if tried.is_unbounded and not self._high:
            return None  # the list is empty
        others = [Approach(by, self._least) for by in _WAYS if by not in self._low and by not in self._high]
        between = [
            Approach(by, _between(self._low[by], high))
            for by, high in self._high.items()
            if by in self._low and high - self._low[by] > 1
        ]
        further = [
            Approach(by, step)
            for by, low in self._low.items()
            if by not in self._high and (step := self._step_above(low)) is not None
        ]
        if any(by in self._low and self._low[by] < 0 and high - self._low[by] <= 1 for by, high in self._high.items()):
            return None  # one microsecond tells the two apart, and no other parameter would do better
        if self._is_expected:
            is_lowered = self._low[tried.by] < 0
            near = [approach for approach in further if approach.by == "both" and approach.extra <= SECOND]
            following = [*between, *others] if is_lowered else [*near, *others, *between]
            following += further
        elif self._high:
            following = [*between, *others, *further]
        else:
            following = [*further, *others]
        return replace(following[0], has_floor=self._has_floor) if following else None


def close_question(times: Sequence[Instant]) -> PageRequest | None:
    """Returns the question for one of the newest rows, given their times, that shows that bounds are read closely.

    Returns None where no row is at a time that can show it.
    """
    unit = math.gcd(SECOND, *times)
    within = [time for time in times[1:] if shows_close_bound(time + unit - 1, time)]
    if not within:
        return None
    # A row early in its day and hour: had the bound been rounded to one of them, it would not come back either.
    before = min(within, key=lambda time: (time % DAY > DAY // 2, time % HOUR > HOUR // 2)) + unit - 1
    # The bounds are as far apart as any that are asked for: an API may hold one against the other.
    return PageRequest(1, min(EPOCH, before), before, before + 1, ids_only=True)


def shows_close_bound(bound: Instant, newest: Instant) -> bool:
    """Tells whether a row at `newest`, listed up to `bound`, would be left out by one cut or rounded to minutes."""
    return max(bound - SECOND, nearest(bound, MINUTE)) < newest <= bound


def nearest(instant: Instant, grid: Instant) -> Instant:
    """Returns the nearest point of the grid, which is never below the one that the instant would be cut to."""
    return (instant + grid // 2) // grid * grid


def _between(low: Instant, high: Instant) -> Instant:
    """Returns a value between the two; where they are as far apart as the steps, one chosen by their ratio."""
    if low >= 0 and high > 1000 * (low + 1):
        return 32 * (low + 1)
    return (low + high) // 2
