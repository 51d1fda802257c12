"""Decides whose task runs next, among exports that share one engine. Pure.

The export with the fewest tasks under way goes first; of several with as few, that whose latest task began longest ago.
An export is told its share of the slots, so that it keeps few tasks waiting, and takes over what others leave.

Exports that ask one host keep its ceiling together. Tasks send their requests by themselves, so each gets a part of the
ceiling when it begins. The rest is for the requests that exports send without a task: an eighth always.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from exporter.schedule.rates import LEAST_RATE, Ledger

#: The part of a ceiling that tasks may have.
FOR_TASKS: Final = 7 / 8
#: An export that has had no task for this long is busy with other things, and leaves its share to others.
_AT_WORK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Task:
    """Names a task: its export, and the number that this has given it. It asks `origin`, with at most `max_rps`
    requests a second, or as many as it finds to be allowed."""

    export: str
    number: int
    origin: str
    max_rps: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """Represents a task under way. `allowance` is its part of a ceiling, None if there is none."""

    task: Task
    allowance: float | None


class TaskQueue:
    """Hands out tasks for `slots`, whose number may change at any time. Times are seconds of one monotonic clock."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._waiting: dict[str, deque[Task]] = {}
        self._running: list[Running] = []
        #: When the latest task of an export began, counted in tasks.
        self._latest: dict[str, int] = {}
        self._begun = 0
        #: When an export had a task that waited or ended.
        self._seen: dict[str, float] = {}
        self._ledgers: dict[str, Ledger] = {}

    @property
    def origins(self) -> frozenset[str]:
        """Returns the hosts that tasks ask, or have asked."""
        return frozenset(self._ledgers)

    def set_ceiling(self, origin: str, max_rps: float | None) -> None:
        """Says how many requests a second the host may be sent altogether, None if there is no bound."""
        self._ledgers[origin].max_rps = None if max_rps is None else max_rps * FOR_TASKS

    def lent(self, origin: str) -> float:
        """Returns how many requests a second the tasks under way may send to the host, as parts of its ceiling."""
        return sum(each.allowance or 0.0 for each in self._running if each.task.origin == origin)

    def add(self, task: Task, now: float) -> None:
        """Puts a task in line behind those of its export."""
        self._seen[task.export] = now
        self._ledgers.setdefault(task.origin, Ledger(None))
        self._waiting.setdefault(task.export, deque()).append(task)

    def leave(self, export: str) -> list[Task]:
        """Forgets what waits of an export that has ended, and returns its tasks under way: they keep their slots until
        they have `ended`."""
        self._waiting.pop(export, None)
        self._seen.pop(export, None)
        return [each.task for each in self._running if each.task.export == export]

    def share_of(self, export: str, now: float) -> int:
        """Returns how many tasks an export may have under way: its fair part of the slots, at least 1."""
        recent = (each for each, seen in self._seen.items() if seen >= now - _AT_WORK_SECONDS)
        at_work = {export, *recent, *self._waiting, *(each.task.export for each in self._running)}
        return max(1, ceil(self.slots / len(at_work)))

    def take(self) -> Running | None:
        """Returns the task that begins now, or None if none can before another has ended."""
        if len(self._running) >= self.slots:
            return None
        for export in sorted(self._waiting, key=self._precedence):
            task = self._waiting[export][0]
            allowance = self._allowance(task)
            if allowance == 0:
                continue
            self._waiting[export].popleft()
            if not self._waiting[export]:
                del self._waiting[export]
            self._begun += 1
            self._latest[export] = self._begun
            running = Running(task, allowance)
            self._running.append(running)
            return running
        return None

    def ended(self, running: Running, now: float) -> None:
        """Notes that a task is no longer under way."""
        self._running.remove(running)
        if running.task.export in self._seen:
            self._seen[running.task.export] = now
        self._ledgers[running.task.origin].give_back(running.allowance)

    def _precedence(self, export: str) -> tuple[int, int]:
        under_way = sum(1 for each in self._running if each.task.export == export)
        return under_way, self._latest.get(export, 0)

    def _allowance(self, task: Task) -> float | None:
        """Returns the part of its host's ceiling that the task may have, None if there is no ceiling; 0 if it must
        wait."""
        ledger = self._ledgers[task.origin]
        if ledger.max_rps is None:
            return None
        there = sum(1 for each in self._running if each.task.origin == task.origin)
        most = max(1, int(ledger.max_rps / LEAST_RATE)) - there
        if most < 1:
            return 0.0
        waiting = sum(1 for tasks in self._waiting.values() for each in tasks if each.origin == task.origin)
        free = min(most, waiting, self.slots - len(self._running))
        return ledger.take(free, inf if task.max_rps is None else task.max_rps)
