"""Decides which tasks must give back what they have not read, because slots have nothing to do. Pure.

Nobody knows how much a task has left: it may be about as much as it has read. So a task that has just begun is left
alone, because what it would give back is hardly worth the end of one task and the start of others; and so is one whose
budget ends soon.
"""

from math import inf
from typing import Final, NamedTuple

#: A task has read for this long before it is recalled, and would go on for as long at most.
_LEAST_SECONDS: Final = 4.0


class _Term(NamedTuple):
    """Says when a task may be recalled, when it would be too late, and when it ends at the latest."""

    since: float
    until: float
    end: float


class Recalls:
    """Knows the tasks that run, and which of them are recalled. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._terms: dict[str, _Term] = {}
        self._recalled: set[str] = set()

    def began(self, task: str, now: float, budget_seconds: float) -> None:
        """Notes that a task reads for at most so long."""
        end = now + budget_seconds
        self._terms[task] = _Term(now + _LEAST_SECONDS, end - _LEAST_SECONDS, end)

    def ended(self, task: str) -> None:
        """Notes that a task has ended."""
        del self._terms[task]
        self._recalled.discard(task)

    def due(self, idle: int, now: float) -> tuple[list[str], float]:
        """Recalls a task for each of the `idle` slots, those with the most time left first. Returns all that are
        recalled, or nothing if there are no more than before, and in how many seconds others may be recalled."""
        idle -= len(self._recalled)
        if idle < 1:
            return [], inf
        left = {task: term for task, term in self._terms.items() if task not in self._recalled and now <= term.until}
        due = sorted((task for task, term in left.items() if term.since <= now), key=lambda task: -left[task].end)
        self._recalled.update(due[:idle])
        later = min((term.since - now for term in left.values() if now < term.since <= term.until), default=inf)
        return sorted(self._recalled) if due else [], later if len(due) < idle else inf
