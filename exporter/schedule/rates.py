"""Shares out a rate among tasks that run elsewhere: a ceiling that the user sets, and what refusals teach. Pure."""

from collections import deque
from math import inf
from typing import Final

#: Fewer requests a second than this are too few for a task to learn from how fast it may ask.
LEAST_RATE: Final = 5.0
#: Above this share of refused requests there are too many tasks, and below that there may be more.
_TOO_MANY: Final = 0.05
_FEW: Final = 0.01
#: A share of fewer requests than this is noise.
_LEAST_REQUESTS: Final = 100
#: There may be this many more, as a share of those that there are, but one at least.
_GROWTH: Final = 0.25
#: Less time than this says nothing of a rate.
_LEAST_SECONDS: Final = 0.001
#: The next task may ask this many times as fast as the latest ones have learned.
_ROOM: Final = 1.5


class Ledger:
    """Divides `max_rps` requests a second among the tasks that run: the sum of their allowances never exceeds it.

    If it is lowered, it holds again once tasks that began before have ended.
    """

    def __init__(self, max_rps: float | None) -> None:
        self.max_rps = max_rps
        self._given: list[float] = []

    def take(self, free: int, most: float = inf) -> float | None:
        """Returns the allowance of a task that takes one of `free` slots, at least 1, and has no use for more than
        `most`; None if nothing bounds it.

        If it is 0, all is given away, and the task must wait until one has ended.
        """
        if self.max_rps is None:
            return None
        # What is left is a sum of fractions: what rounding alone leaves is nothing.
        left = self.max_rps - sum(self._given)
        allowance = min(most, left / free) if left > self.max_rps * 1e-6 else 0.0
        if allowance:
            self._given.append(allowance)
        return allowance

    def give_back(self, allowance: float | None) -> None:
        """Notes that the task with this allowance has ended."""
        if allowance:
            self._given.remove(allowance)


class Crew:
    """Says how many tasks may run `at_once` on `slots`, by how many requests of the latest ones were refused.

    Tasks that share a limit disturb one another the more, the fewer requests each may make. `max_rps` is the ceiling
    of all together, if there is one.
    """

    def __init__(self, slots: int, max_rps: float | None = None) -> None:
        self.slots = slots
        self._most: Final = None if max_rps is None else max(1, int(max_rps / LEAST_RATE))
        self._learned: int | None = None
        self._latest: deque[tuple[int, int, float]] = deque()
        #: How many tasks are still to end that ran when there were more.
        self._older = 0
        #: The ceiling for a task that begins now, in requests a second; None as long as nothing was refused.
        self.ceiling: float | None = None

    @property
    def at_once(self) -> int:
        """Returns how many tasks may run at once, at least 1."""
        return max(1, min(each for each in (self.slots, self._most, self._learned) if each is not None))

    def ended(self, requests: int, throttled: int, seconds: float, rate: float | None = None) -> None:
        """Notes that a task has made so many requests, `throttled` of which were refused. `rate` is what it has found
        to be allowed, in requests a second, if it has."""
        at_once = self.at_once
        if self._older:
            # It shared the limit with as many as ran before there were fewer.
            self._older -= 1
            return
        if rate is not None:
            self.ceiling = rate * _ROOM
        self._latest.append((requests, throttled, seconds))
        if len(self._latest) < at_once or sum(made for made, _, _ in self._latest) < _LEAST_REQUESTS:
            return
        made, refused, lasted = (sum(each) for each in zip(*self._latest, strict=True))
        self._latest.clear()
        allowed = (made - refused) / max(lasted, _LEAST_SECONDS) * at_once
        if refused > _TOO_MANY * made and allowed < LEAST_RATE * at_once:
            self._learned, self._older = max(1, int(allowed / LEAST_RATE)), at_once
            self.ceiling = allowed / self._learned * _ROOM
        elif refused < _FEW * made and at_once < self.slots:
            self._learned = at_once + max(1, int(at_once * _GROWTH))
