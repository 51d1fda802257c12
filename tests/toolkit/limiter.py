"""Simulates an API with limits, and workers that send requests as fast as a `Throttle` lets them."""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from exporter.errors import ThrottledError
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.retry import Contact, RetryPolicy
from exporter.fetch.pace.throttle import Throttle

RetryAfter: TypeAlias = Literal["exact", "whole", "date", "none"]
_POLICY = RetryPolicy()


class Refusal(NamedTuple):
    """Holds a server's answer to a request that comes too fast."""

    status: int
    retry_after_seconds: float | None


@dataclass
class Bucket:
    """Limits requests by a token bucket. `rate` may change with time. Times are in seconds, and tokens are requests."""

    rate: Callable[[float], float]
    size: float
    retry_after: RetryAfter
    status: int = 429
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
        """Returns the `Retry-After` as a client reads it. A date has whole seconds, and so has the `Date` beside it."""
        missing = (1 - self.level) / self.rate(now)
        match self.retry_after:
            case "exact":
                return missing
            case "whole":
                return float(math.ceil(missing))
            case "date":
                return float(math.ceil(now + math.ceil(missing)) - math.floor(now))
            case "none":
                return None


@dataclass
class Window:
    """Limits requests by fixed windows of `seconds`. Its answers say how many are left, and until when."""

    requests: int
    seconds: float
    status: int = 429
    number: int = -1
    used: int = 0

    def take(self, now: float) -> bool:
        if now // self.seconds != self.number:
            self.number, self.used = int(now // self.seconds), 0
        self.used += 1
        return self.used <= self.requests

    def hint(self, now: float) -> float | None:
        return float(math.ceil((self.number + 1) * self.seconds - now))

    def quota(self, now: float) -> Quota:
        return Quota(max(0, self.requests - self.used), math.ceil((self.number + 1) * self.seconds - now))


@dataclass
class Crowd:
    """Limits the requests that a server works on at once to `most`, which may change with time."""

    most: Callable[[float], int]
    retry_after_seconds: float | None = None
    status: int = 503
    working: int = 0


@dataclass
class Outcome:
    """Holds when the server let requests through, and when it refused them."""

    passed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.passed) / (until - since)

    def refusals(self, since: float, until: float) -> int:
        return sum(since <= at < until for at in self.refused)


def simulate(
    throttle: Throttle,
    *,
    limit: Bucket | Window | None = None,
    crowd: Crowd | None = None,
    quota: Callable[[float], Quota | None] = lambda _: None,
    workers: int,
    seconds: float,
    latency_seconds: tuple[float, float] = (0.05, 0.15),
    watch: Callable[[float], None] = lambda _: None,
    pages_a_window: int | None = None,
    seed: int = 1,
) -> Outcome:
    """Simulates workers that never run out of requests. Each has one under way; all wait in one line for their turns.

    With `pages_a_window`, they work as in a pipeline: only a useful number of them have a window, of this many pages.
    Half of the latency is the way to the server and half the way back; with a `crowd`, each way is a twentieth, and the
    rest is work. `watch` is called at every request that is sent. The same seed gives the same outcome.
    """
    rng = random.Random(seed)
    outcome = Outcome()
    events: list[tuple[float, int, Callable[[float], None]]] = []
    order = iter(range(1 << 62))
    # The number of refusals of each request in line.
    line = deque([0] * workers) if pages_a_window is None else deque[int]()
    windows = 0
    shortest, longest = latency_seconds
    way = 0.05 if crowd else 0.5
    next_look = math.inf

    def at(when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(events, (when, next(order), what))

    def latency() -> float:
        return shortest + (longest - shortest) * rng.random()

    def look(now: float) -> None:
        nonlocal next_look, windows
        next_look = math.inf
        while pages_a_window and windows < min(workers, throttle.useful_concurrency):
            windows += 1
            line.append(0)
        while line:
            wait = throttle.delay_seconds(now)
            if wait > 0:
                if now + wait < next_look and wait < math.inf:
                    next_look = now + wait
                    at(next_look, look_again)
                return
            send(now, line.popleft())

    def look_again(now: float) -> None:
        if now >= next_look:
            look(now)

    def send(now: float, refusals: int) -> None:
        sent = throttle.sent(now)
        watch(now)

        def arrive(now: float) -> None:
            refusal = None
            if crowd is not None and crowd.working >= crowd.most(now):
                refusal = Refusal(crowd.status, crowd.retry_after_seconds)
            elif limit is not None and not limit.take(now):
                refusal = Refusal(limit.status, limit.hint(now))
            if refusal is not None:
                outcome.refused.append(now)
                at(now + shortest * way, lambda then: refuse(then, refusal))
                return
            outcome.passed.append(now)
            said = quota(now)
            if crowd is None:
                at(now + way * latency(), lambda then: succeed(then, said))
            else:
                crowd.working += 1
                at(now + (1 - 2 * way) * latency(), leave)

        def leave(now: float) -> None:
            assert crowd is not None
            crowd.working -= 1
            said = quota(now)
            at(now + way * latency(), lambda then: succeed(then, said))

        def succeed(now: float, said: Quota | None) -> None:
            nonlocal windows
            throttle.succeeded(sent, now, said)
            if pages_a_window is not None:
                throttle.page_took(now - sent.at)
            if pages_a_window is not None and rng.random() < 1 / pages_a_window:
                windows -= 1
            else:
                line.append(0)
            look(now)

        def refuse(now: float, refusal: Refusal) -> None:
            error = ThrottledError("", refusal.retry_after_seconds, refusal.status)
            throttle.refused(sent, now, error)
            wait = _POLICY.decide(error, refusals + 1, 0.0, Contact.READING, rng.random())
            assert wait is not None
            at(now + wait, lambda then: again(then, refusals + 1))
            look(now)

        at(now + way * latency(), arrive)

    def again(now: float, refusals: int) -> None:
        line.append(refusals)
        look(now)

    look(0.0)
    while events and events[0][0] < seconds:
        now, _, what = heapq.heappop(events)
        what(now)
    return outcome
