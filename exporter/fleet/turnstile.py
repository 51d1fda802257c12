"""Decides whose turn it is to send a request, among runs that ask the same hosts. Pure.

Runs with one token share one throttle, which learns what the host allows to that token; all runs that ask one host
share its ceiling. Whoever has waited longest goes first, and each run asks for one turn at a time, so that none waits
behind the many workers of another.

Runs may stand still with their turns, and servers may ask to be left alone for hours. Neither holds other runs up: a
turn that is older than any request is taken back, and a run whose token must wait for too long is told so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Final

from exporter.errors import ThrottledError
from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.retry import LONGEST_RETRY_AFTER_SECONDS
from exporter.fetch.pace.throttle import Throttle, Ticket
from exporter.fleet.ceiling import Ceiling, Sending
from exporter.fleet.task_queue import FOR_TASKS
from exporter.run.turn_messages import (
    Ask,
    Denied,
    FromRun,
    Join,
    PageTook,
    Passed,
    Refused,
    ToRun,
    Turn,
    TurnMessageError,
    Withdraw,
)

#: The most workers that all runs of one token can have together.
_MOST_WORKERS: Final = 1024
#: The part of a ceiling that tasks leave to turns.
_LEAST_PART: Final = 1 - FOR_TASKS
#: A run that has not asked for this long is busy with other things, and leaves its share to others.
_AT_WORK_SECONDS: Final = 10.0
#: A request, with a look at where its token is kept, takes no longer.
LONGEST_TURN_SECONDS: Final = 360.0


@dataclass(slots=True)
class _Access:
    """Holds what a host allows to a token. Until `denied_until`, it wants to be left alone, for the reason of
    `refusal`."""

    throttle: Throttle = field(default_factory=lambda: Throttle(None, _MOST_WORKERS))
    denied_until: float = -inf
    refusal: ThrottledError = field(default_factory=lambda: ThrottledError(""))

    def refused(self, ticket: Ticket, now: float, error: ThrottledError) -> None:
        """Notes that a request was refused."""
        wait_seconds = error.retry_after_seconds or 0.0
        if wait_seconds > LONGEST_RETRY_AFTER_SECONDS:
            # No run waits for that long, and none keeps its place for nothing.
            if now + wait_seconds > self.denied_until:
                self.denied_until, self.refusal = now + wait_seconds, error
            error = ThrottledError("", None, error.status)
        self.throttle.refused(ticket, now, error)

    def denied(self, number: int, now: float) -> Denied | None:
        """Returns the answer to an ask while there can be no turn; None if there can."""
        left = self.denied_until - now
        if left <= 0:
            return None
        return Denied(number=number, status=self.refusal.status, retry_after_seconds=left, reason=str(self.refusal))


@dataclass(slots=True)
class _Host:
    """Holds what is known of an origin. `line` holds the names of the runs that wait, in their order. What is lent of
    its ceiling is sent without turns."""

    ceiling: Ceiling = field(default_factory=Ceiling)
    lent_rps: float = 0.0
    accesses: dict[str, _Access] = field(default_factory=dict)
    line: dict[str, "_Member"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Open:
    """Represents a turn that was given, by what its answer is for."""

    access: _Access
    ticket: Ticket
    sending: Sending


@dataclass(slots=True)
class _Member:
    """Holds a run. `waits_for` is the number of the turn that it waits for, and `open` holds its turns by number, the
    oldest first. Those `overdue` were taken back."""

    joined: Join
    host: _Host
    access: _Access
    asked_at: float
    waits_for: int = 0
    open: dict[int, _Open] = field(default_factory=dict)
    overdue: set[int] = field(default_factory=set)

    @property
    def oldest_at(self) -> float:
        """Returns when the oldest turn was given that is not settled; infinity if all are."""
        return next((each.ticket.at for each in self.open.values()), inf)


class Turnstile:
    """Gives turns. Times are seconds of one monotonic clock; runs are known by their names.

    Whenever something was received, a run has left, or the wait that `turns` has returned is over, `turns` says which
    turns are to be given now.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}
        self._members: dict[str, _Member] = {}
        #: How many turns were given.
        self.given = 0

    def receive(self, name: str, message: FromRun, now: float) -> None:
        """Takes a message of a run. Raises `TurnMessageError` for one that makes no sense."""
        if isinstance(message, Join):
            self._join(name, message, now)
            return
        member = self._members.get(name)
        if member is None:
            raise TurnMessageError("a run that has not joined")
        match message:
            case Ask(number=number):
                if member.waits_for or number in member.open or number in member.overdue:
                    raise TurnMessageError("a second ask before the first one was answered")
                member.waits_for, member.asked_at = number, now
                member.host.line[name] = member
            case Withdraw(number=number) if number == member.waits_for:
                self._out_of_line(name, member)
            case Withdraw(number=number):
                self._settle(member, number, now)
            case Passed(number=number, quota=quota):
                self._settle(member, number, now, quota)
            case Refused(number=number, status=status, retry_after_seconds=wait_seconds, reason=reason):
                self._settle(member, number, now, refusal=ThrottledError(reason, wait_seconds, status))
            case PageTook(seconds=seconds):
                member.access.throttle.page_took(seconds)

    def leave(self, name: str, now: float) -> None:
        """Takes a run out, with all turns that it holds."""
        member = self._members.pop(name, None)
        if member is None:
            return
        self._out_of_line(name, member)
        for number in list(member.open):
            self._settle(member, number, now)
        self._lower(member.host)

    def turns(self, now: float) -> tuple[list[tuple[str, ToRun]], float]:
        """Gives the turns whose time has come, each to the run of this name, and denies those that cannot come.

        Returns them, and the seconds until more may follow by themselves: infinity if only a message can bring them.
        """
        given: list[tuple[str, ToRun]] = []
        wait = inf
        for host in self._hosts.values():
            if not host.line:
                continue
            self._take_back(host, now)
            given += self._deny(host, now)
            while host.line:
                held = host.ceiling.delay_seconds(now)
                delays = {
                    name: max(held, member.access.throttle.delay_seconds(now)) for name, member in host.line.items()
                }
                first = next((name for name, seconds in delays.items() if seconds <= 0), None)
                if first is None:
                    wait = min(wait, self._oldest_at(host) + LONGEST_TURN_SECONDS - now, *delays.values())
                    break
                given.append((first, self._give(first, host.line[first], now)))
        return given, wait

    def _join(self, name: str, join: Join, now: float) -> None:
        host = self._hosts.setdefault(join.origin, _Host())
        member = self._members.get(name)
        if member is None:
            self._members[name] = _Member(join, host, host.accesses.setdefault(join.token, _Access()), now)
        elif member.host is not host or member.waits_for:
            raise TurnMessageError("a run that moves to another host, or has not yet got the turn it asked for")
        else:
            # Its token was renewed. What was learned holds for the next one, and for those that still have the former.
            member.joined, member.asked_at = join, now
            member.access = host.accesses.setdefault(join.token, member.access)
        self._lower(host)

    def _take_back(self, host: _Host, now: float) -> None:
        """Takes back the turns that are older than any request: their runs stand still."""
        for member in self._at(host):
            while member.oldest_at <= now - LONGEST_TURN_SECONDS:
                number = next(iter(member.open))
                self._settle(member, number, now)
                member.overdue.add(number)

    def _oldest_at(self, host: _Host) -> float:
        return min(each.oldest_at for each in self._at(host))

    def _deny(self, host: _Host, now: float) -> Iterator[tuple[str, Denied]]:
        for name, member in list(host.line.items()):
            denied = member.access.denied(member.waits_for, now)
            if denied is not None:
                self._out_of_line(name, member)
                yield name, denied

    def ceiling_of(self, origin: str) -> float | None:
        """Returns how many requests a second may be sent to an origin altogether: the fewest that a run there may."""
        host = self._hosts.get(origin)
        return None if host is None else self._ceiling_of(host)

    def lend(self, origin: str, max_rps: float) -> None:
        """Says how many requests a second others send to an origin without turns: so many fewer leave with one."""
        host = self._hosts.get(origin)
        if host is not None:
            host.lent_rps = max_rps
            self._lower(host)

    def _ceiling_of(self, host: _Host) -> float | None:
        return min((each.joined.max_rps for each in self._at(host) if each.joined.max_rps is not None), default=None)

    def _lower(self, host: _Host) -> None:
        """Sets the ceiling of a host to what is not lent of it."""
        ceiling = self._ceiling_of(host)
        # What was lent by a higher ceiling comes back before long. Until then, a few turns are better than none.
        host.ceiling.max_rps = None if ceiling is None else max(ceiling - host.lent_rps, ceiling * _LEAST_PART)

    def _give(self, name: str, member: _Member, now: float) -> Turn:
        number = member.waits_for
        self._out_of_line(name, member)
        access = member.access
        member.open[number] = _Open(access, access.throttle.sent(now), member.host.ceiling.sent(now))
        self.given += 1
        return Turn(number=number, workers=self._workers(member, now))

    def _workers(self, member: _Member, now: float) -> int:
        """Returns how many workers of a run can use turns: its fair share of those that can altogether."""
        host, throttle = member.host, member.access.throttle
        most = throttle.useful_concurrency
        if host.ceiling.max_rps is None:
            sharing = [each for each in self._at(host) if each.access is member.access]
        else:
            most = min(most, throttle.workers_at(host.ceiling.max_rps))
            sharing = list(self._at(host))
        at_work = sum(1 for each in sharing if each.waits_for or each.open or each.asked_at >= now - _AT_WORK_SECONDS)
        return min(member.joined.concurrency, max(1, ceil(most / at_work)))

    def _at(self, host: _Host) -> Iterator[_Member]:
        return (each for each in self._members.values() if each.host is host)

    def _out_of_line(self, name: str, member: _Member) -> None:
        member.waits_for = 0
        member.host.line.pop(name, None)

    def _settle(
        self,
        member: _Member,
        number: int,
        now: float,
        quota: Quota | None = None,
        refusal: ThrottledError | None = None,
    ) -> None:
        if number in member.overdue:
            member.overdue.discard(number)
            return
        if number not in member.open:
            raise TurnMessageError("a turn that was not given, or that is over")
        turn = member.open.pop(number)
        turn.sending.landed_at = now
        if refusal is None:
            turn.access.throttle.succeeded(turn.ticket, now, quota)
        else:
            turn.access.refused(turn.ticket, now, refusal)
