"""Tests how well fifty exports use what their host allows, in simulated time: four at once, each with eight workers.

The host has one limiter for all of them. Requests take their time on the way, so that they do not arrive evenly.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf

import pytest

from exporter.errors import ThrottledError
from exporter.fetch.pace.retry import Contact, RetryPolicy
from exporter.fleet.turnstile import Turnstile
from exporter.run.turn_messages import Ask, Join, PageTook, Passed, Refused, Turn, digest_of
from tests.toolkit.limiter import Bucket

RATE = 20.0
#: How long the start of a process takes, and how many pages an export has.
START_SECONDS = 1.0
PAGES = 60
_POLICY = RetryPolicy()


@dataclass
class Run:
    """Simulates the workers of one export: all wait in one line, whose first asks for a turn."""

    name: str
    left: int = PAGES
    line: deque[int] = field(default_factory=deque)
    at_work: int = 0
    workers: int = 2
    asked: int = 0
    is_asking: bool = False


class World:
    """Simulates a host, a turnstile and the runs that share them, by events in their order."""

    def __init__(self, bucket: Bucket, token_of: Callable[[str], str], max_rps: float | None, at_once: int) -> None:
        self.turnstile = Turnstile()
        self.passed: list[float] = []
        self.refused: list[float] = []
        self._bucket = bucket
        self._token_of = token_of
        self._max_rps = max_rps
        self._waiting = iter([Run(f"e{number}") for number in range(50)])
        self._runs: dict[str, Run] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._chance = random.Random(1)
        self._next_look = inf
        for _ in range(at_once):
            self._start(0.0)
        while self._events:
            now, _, what = heapq.heappop(self._events)
            what(now)
            self._give(now)

    def _at(self, when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def _start(self, now: float) -> None:
        run = next(self._waiting, None)
        if run is not None:
            self._at(now + START_SECONDS, lambda then: self._begin(run, then))

    def _begin(self, run: Run, now: float) -> None:
        self._runs[run.name] = run
        join = Join(
            origin="https://one.test", token=digest_of(self._token_of(run.name)), concurrency=8, max_rps=self._max_rps
        )
        self.turnstile.receive(run.name, join, now)
        self._look(run, now)

    def _look(self, run: Run, now: float) -> None:
        """Lets workers begin that are useful, and the first in line ask."""
        while run.at_work < min(run.workers, run.left):
            run.at_work += 1
            run.line.append(0)
        if run.line and not run.is_asking:
            run.is_asking = True
            run.asked += 1
            self.turnstile.receive(run.name, Ask(number=run.asked), now)

    def _give(self, now: float) -> None:
        turns, wait = self.turnstile.turns(now)
        for name, turn in turns:
            run = self._runs[name]
            assert isinstance(turn, Turn)
            run.is_asking, run.workers = False, turn.workers
            self._send(run, turn.number, run.line.popleft(), now)
            self._look(run, now)
        if turns:
            self._give(now)
        elif now + wait < self._next_look:
            self._next_look = now + wait
            self._at(now + wait, self._look_again)

    def _look_again(self, now: float) -> None:
        # What was awaited may have come sooner, and then something else is.
        self._next_look = inf

    def _send(self, run: Run, number: int, refusals: int, now: float) -> None:
        def arrive(then: float) -> None:
            if self._bucket.take(then):
                self.passed.append(then)
                self._at(then + 0.05 + 0.1 * self._chance.random(), lambda later: self._pass(run, number, now, later))
                return
            self.refused.append(then)
            error = ThrottledError("", self._bucket.hint(then))
            self._at(then + 0.01, lambda later: self._refuse(run, number, refusals + 1, error, later))

        self._at(now + 0.01 + 0.01 * self._chance.random(), arrive)

    def _pass(self, run: Run, number: int, sent_at: float, now: float) -> None:
        self.turnstile.receive(run.name, Passed(number=number), now)
        self.turnstile.receive(run.name, PageTook(seconds=now - sent_at), now)
        run.left -= 1
        run.at_work -= 1
        if run.left:
            self._look(run, now)
        elif not run.at_work:
            self.turnstile.leave(run.name, now)
            self._start(now)

    def _refuse(self, run: Run, number: int, refusals: int, error: ThrottledError, now: float) -> None:
        refused = Refused(number=number, status=429, retry_after_seconds=error.retry_after_seconds)
        self.turnstile.receive(run.name, refused, now)
        wait = _POLICY.decide(error, refusals, 0.0, Contact.READING, self._chance.random())
        assert wait is not None
        self._at(now + wait, lambda then: self._again(run, refusals, then))

    def _again(self, run: Run, refusals: int, now: float) -> None:
        run.line.append(refusals)
        self._look(run, now)

    @property
    def rate(self) -> float:
        """Returns how many requests a second were let through, from the first to the last."""
        return len(self.passed) / (self.passed[-1] - self.passed[0])

    @property
    def refusals(self) -> float:
        """Returns how many requests were refused, as a share of all."""
        return len(self.refused) / (len(self.refused) + len(self.passed))


def busiest_second(times: Sequence[float]) -> int:
    """Returns the most requests in any second, counted from each of them."""
    ordered = sorted(times)
    return max(sum(1 for each in ordered[at : at + 50] if each < first + 1) for at, first in enumerate(ordered))


def limiter(size: float) -> Bucket:
    return Bucket(lambda _: RATE, size, "whole")


@pytest.mark.parametrize("size", [5, 20])
def test_exports_with_one_token_use_what_it_is_allowed(size: float) -> None:
    world = World(limiter(size), lambda _: "one", None, 4)
    assert world.rate >= 0.95 * RATE
    assert world.refusals <= 0.03


@pytest.mark.parametrize("size", [5, 20])
def test_exports_with_tokens_of_their_own_find_their_shares(size: float) -> None:
    world = World(limiter(size), lambda name: name, None, 4)
    # What all are refused together says little about what each is allowed.
    assert world.rate >= 0.8 * RATE
    assert world.refusals <= 0.1


def test_no_host_sees_more_than_the_ceiling() -> None:
    world = World(Bucket(lambda _: 1000.0, 1000, "whole"), lambda name: name, RATE, 4)
    assert 0.95 * RATE <= world.rate <= RATE
    assert busiest_second(world.passed) <= RATE
