"""Simulates tasks that share one limit, in simulated time: real throttles, a real crew and a real ledger.

A task is a process of its own: its throttle knows nothing of the others, and begins anew with each task.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from exporter.errors import ThrottledError
from exporter.fetch.pace.retry import Contact, RetryPolicy
from exporter.fetch.pace.throttle import Throttle
from exporter.schedule.rates import Crew, Ledger
from tests.toolkit.limiter import Bucket

_POLICY = RetryPolicy()


@dataclass(eq=False)
class _Task:
    """Holds a task under way: its workers, and the refusals of each request that waits."""

    throttle: Throttle
    ends_at: float
    began_at: float
    allowance: float | None
    line: deque[int] = field(default_factory=deque)
    workers: int = 0
    made: int = 0
    refused: int = 0
    next_look: float = float("inf")


@dataclass
class Shared:
    """Holds when requests were let through and refused, and how many tasks could run at once at the end of each."""

    passed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.passed) / (until - since)

    def refusals(self, since: float, until: float) -> float:
        """Returns how many of the requests were refused, as a share."""
        refused = sum(since <= at < until for at in self.refused)
        return refused / max(1, refused + sum(since <= at < until for at in self.passed))


def simulate(
    limit: Bucket | None,
    slots: int,
    *,
    max_rps: float | None = None,
    seconds: float = 600.0,
    budget_seconds: float = 60.0,
    concurrency: int = 8,
    latency_seconds: tuple[float, float] = (0.2, 0.4),
    is_adaptive: bool = True,
    seed: int = 1,
) -> Shared:
    """Runs tasks one after another on each slot; without being adaptive, on all slots whatever the crew says.

    The first tasks last a fourth of the budget, and each ends within a fifth of its own.
    """
    chance = random.Random(seed)
    crew, ledger = Crew(slots, max_rps), Ledger(max_rps)
    outcome = Shared()
    events: list[tuple[float, int, Callable[[float], None]]] = []
    order = count()
    running: set[_Task] = set()

    def at(when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(events, (when, next(order), what))

    def latency() -> float:
        shortest, longest = latency_seconds
        return shortest + (longest - shortest) * chance.random()

    def start(now: float) -> None:
        most = crew.at_once if is_adaptive else slots
        while (free := most - len(running)) > 0:
            allowance = ledger.take(free)
            if allowance == 0:
                return
            rates = [rate for rate in (allowance, crew.ceiling if is_adaptive else None) if rate is not None]
            budget = budget_seconds * (0.25 if now == 0 else 1) * (0.8 + 0.4 * chance.random())
            task = _Task(Throttle(min(rates, default=None), concurrency), now + budget, now, allowance)
            running.add(task)
            at(now + chance.random() * 0.5, lambda then, task=task: look(task, then))  # type: ignore[misc]

    def look(task: _Task, now: float) -> None:
        while task.workers < min(concurrency, task.throttle.useful_concurrency) and now < task.ends_at:
            task.workers += 1
            task.line.append(0)
        while task.line:
            if now >= task.ends_at:
                task.workers -= len(task.line)
                task.line.clear()
                break
            wait = task.throttle.delay_seconds(now)
            if wait > 0:
                when = min(now + wait, task.ends_at)
                if when < task.next_look:
                    task.next_look = when
                    at(when, lambda then: look_again(task, then))
                return
            send(task, now, task.line.popleft())
        if not task.workers and now >= task.ends_at and task in running:
            running.remove(task)
            ledger.give_back(task.allowance)
            crew.ended(task.made, task.refused, now - task.began_at, task.throttle.rate)
            outcome.at_once.append(crew.at_once)
            start(now)

    def look_again(task: _Task, now: float) -> None:
        if now >= task.next_look:
            task.next_look = float("inf")
            look(task, now)

    def send(task: _Task, now: float, refusals: int) -> None:
        sent = task.throttle.sent(now)
        task.made += 1

        def arrive(then: float) -> None:
            if limit is None or limit.take(then):
                outcome.passed.append(then)
                at(then + latency() / 2, succeed)
                return
            outcome.refused.append(then)
            error = ThrottledError("", limit.hint(then), limit.status)
            at(then + latency_seconds[0] / 2, lambda later: refuse(error, later))

        def succeed(then: float) -> None:
            task.throttle.succeeded(sent, then)
            task.throttle.page_took(then - now)
            task.line.append(0)
            look(task, then)

        def refuse(error: ThrottledError, then: float) -> None:
            task.refused += 1
            task.throttle.refused(sent, then, error)
            wait = _POLICY.decide(error, refusals + 1, 0.0, Contact.READING, chance.random())
            assert wait is not None
            at(then + wait, lambda later: again(later))
            look(task, then)

        def again(then: float) -> None:
            task.line.append(refusals + 1)
            look(task, then)

        at(now + latency() / 2, arrive)

    start(0.0)
    while events and events[0][0] < seconds:
        now, _, what = heapq.heappop(events)
        what(now)
    return outcome
