"""A simulated API with a rate limit, and simulated workers that ask it as fast as a `Throttle` lets them."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from exporter.fetch.throttle import Throttle

RetryAfter: TypeAlias = Literal["exact", "whole", "none"]


@dataclass
class Bucket:
    """A token bucket. `rate` may change with time. Times in seconds, tokens are requests."""

    rate: Callable[[float], float]
    size: float
    retry_after: RetryAfter
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.size

    def take(self, now: float) -> bool:
        self.level = min(self.size, self.level + (now - self.at) * self.rate(now))
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True

    def hint(self, now: float) -> float | None:
        missing = (1 - self.level) / self.rate(now)
        return {"exact": missing, "whole": float(math.ceil(missing)), "none": None}[self.retry_after]


@dataclass
class Outcome:
    """When the server let requests through, and when it refused."""

    passed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.passed) / (until - since)

    def refusals(self, since: float, until: float) -> int:
        return sum(since <= at < until for at in self.refused)


def simulate(
    throttle: Throttle,
    *,
    limit: Bucket | None,
    workers: int,
    seconds: float,
    latency_seconds: tuple[float, float] = (0.05, 0.15),
    seed: int = 1,
) -> Outcome:
    """Workers that never run out of requests, each with one under way. Deterministic for a seed."""
    rng = random.Random(seed)
    outcome = Outcome()
    events: list[tuple[float, int, Callable[[float], None]]] = []
    order = iter(range(1 << 62))

    def at(when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(events, (when, next(order), what))

    def ask(now: float) -> None:
        wait = throttle.delay_seconds(now)
        if wait > 0:
            at(now + wait, ask)
        else:
            at(now + rng.uniform(*latency_seconds) / 2, arrive)

    def arrive(now: float) -> None:
        if limit is None or limit.take(now):
            outcome.passed.append(now)
            at(now + rng.uniform(*latency_seconds) / 2, succeed)
        else:
            outcome.refused.append(now)
            hint = limit.hint(now)
            at(now + latency_seconds[0] / 2, lambda then: refuse(then, hint))

    def succeed(now: float) -> None:
        throttle.succeeded(now)
        ask(now)

    def refuse(now: float, hint: float | None) -> None:
        throttle.refused(now, hint)
        at(now + (hint or 0.0), ask)

    for _ in range(workers):
        at(0.0, ask)
    while events and events[0][0] < seconds:
        now, _, what = heapq.heappop(events)
        what(now)
    return outcome
