"""Reads whole pages: sets the pace, the attempts and the decoding of every request."""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Self, TypeVar

from anyio import CapacityLimiter, to_thread
from msgspec.structs import replace

from exporter import trace
from exporter.clock import wall_clock
from exporter.contract import MAX_PAGE_SIZE, SECOND, Instant
from exporter.encode.decoded import DecodedPage, PageDecoder
from exporter.encode.rows import EncodeRow
from exporter.errors import RequestRefusedError, ThrottledError, TooLargeError, UnplacedError
from exporter.fetch.pace.page_size import Portions
from exporter.fetch.pace.throttle import Throttle, Ticket
from exporter.fetch.walk.traits import Traits
from exporter.fetch.wire.answer import Answer, Presence
from exporter.model import Counters, PageRequest, Values
from exporter.pipeline.attempts import Attempts
from exporter.pipeline.memory import ByteBudget, Room
from exporter.pipeline.objects import Objects
from exporter.pipeline.placement import when
from exporter.pipeline.report import Report
from exporter.pipeline.single import Absence, Singles
from exporter.pipeline.source import PageReading as PageReading
from exporter.pipeline.source import Source
from exporter.pipeline.turns import OwnTurns, Turns
from exporter.progress import Observer, Trouble
from exporter.schedule.clock import ClockSample, Now, settle
from exporter.words import format_size

#: A request that has had no answer for this long is told of.
_SILENCE_SECONDS: Final = 5.0
AnswerT = TypeVar("AnswerT", bound=Answer | Presence)


class Reader:
    """Reads pages for all workers. `counters` and `in_flight` say what that costs, and `traits` what it has shown.

    A reader `beside` another one, which reads nothing meanwhile, goes on at its pace and with its experience. `turns`
    know the limits, not `max_rps`, if others ask the same API as well. Rows are taken to have `row_bytes` at first.
    """

    def __init__(
        self,
        source: Source,
        decoder: PageDecoder,
        observer: Observer,
        budget: ByteBudget,
        *,
        concurrency: int,
        max_rps: float | None,
        clock: Callable[[], float] = time.monotonic,
        wait_seconds: float | None = None,
        beside: Self | None = None,
        turns: Turns | None = None,
        row_bytes: int = 0,
    ) -> None:
        self.counters = Counters()
        #: What the observer is told of the run.
        self.report: Report = beside.report if beside else Report(observer, clock)
        self.report.troubles.append(self._trouble)
        self.traits = Traits()
        #: The lists that make up the export, each with what it has shown. Where a filter has several values, `traits`
        #: are those of the list without that filter.
        self.lists: dict[Values, Traits] = {(): self.traits}
        #: The time that is believed, once it is settled.
        self.now: Now | None = None
        #: The samples that answers have given of the time, until `now` is settled.
        self.told: list[ClockSample] = []
        self._source = source
        self._decoder = decoder
        self.observer = observer
        self._budget = budget
        self.clock = clock
        # When the requests were sent that are under way.
        self._sent: list[float] = []
        self._turns: Turns = beside._turns if beside else turns or OwnTurns(Throttle(max_rps, concurrency), clock)
        self._attempts: Attempts = (
            beside._attempts
            if beside
            else Attempts(observer, concurrency, clock, self.count, wait_seconds, lambda: source.is_reached)
        )
        # The most rows that a request was granted, and the most that one may ask for.
        self._granted_rows, self._most_rows = 0, MAX_PAGE_SIZE
        self._whole_rows, self._whole_bytes = int(row_bytes > 0), row_bytes
        #: The bytes of the pages as they came.
        self.wire_bytes = 0
        # A decoder learns as it goes, so that only one thread at a time may use it.
        self._decoding = CapacityLimiter(1)
        self.objects: Final = Objects(self._ask_object, self._attempts)
        self._singles = Singles(self._ask_one, self._decoded, self._attempts, budget)

    @property
    def in_flight(self) -> int:
        """Returns the number of requests that are under way."""
        return len(self._sent)

    @property
    def useful_concurrency(self) -> int:
        """Returns the number of workers that ask as fast as the server and the user allow."""
        return self._turns.useful_concurrency

    def portions(self) -> Portions:
        """Returns what decides how many rows a new walk asks for."""
        shares = self._budget.shares
        typical = self._whole_bytes / self._whole_rows if self._whole_rows else None
        # A page of each list waits for the others.
        return Portions(shares.page // len(self.lists), shares.largest_page, typical)

    async def look(self, request: PageRequest, *, waits: bool = True, believes: bool = False) -> PageReading:
        """Reads a page as `read` does, before anything is committed, and releases its room at once."""
        with self._attempts.advising():
            reading = await self.read(request, self.portions(), waits=waits, believes=believes)
        self.traits.note_shown(request, reading.page)
        reading.room.release()
        return reading

    async def read(
        self, request: PageRequest, portions: Portions, *, waits: bool = True, believes: bool = False
    ) -> PageReading:
        """Returns the answer to `request`, with as many rows as there is room for, after as many attempts as it takes.
        Raises `SourceError` when more attempts are no use, and `TooLargeError` when there is no room for a single row.

        A caller that already holds room for another page must pass `waits=False`, and a `request` for ids alone. With
        `believes`, a refusal is raised at once, because the API may not know what is asked for. If the API refuses
        more rows than it has granted before, it is asked for that many.
        """
        rows = min(portions.rows(request), self._most_rows)
        size_bytes = portions.expected_bytes(request, rows)
        largest_bytes = self._budget.shares.largest_page
        first, attempt = self.clock(), 0
        while True:
            room = await self._budget.reserve(rows, size_bytes, waits=waits)
            is_more = 0 < self._granted_rows < rows
            gives_up = believes or request.may_be_refused or is_more
            try:
                read_once = partial(self._read, replace(request, limit=rows), room)
                reading = await self._attempts.pursue(read_once, believes=gives_up)
            except RequestRefusedError as error:
                if error.is_final and request.may_be_refused and not is_more:
                    return PageReading((await self._decoded(b"[]")).page, wall_clock(), room)
                room.release()
                if error.is_final and is_more:
                    rows = self._most_rows = self._granted_rows
                    self.observer.note("asking for fewer rows", rows=rows, reason=str(error))
                    continue
                raise
            except TooLargeError as error:
                room.release()
                if rows == 1 and size_bytes == largest_bytes:
                    attempt += 1
                    if not await self._attempts.waited(error, attempt, first):
                        raise TooLargeError(
                            f"one conversation takes more than {format_size(largest_bytes)}, the most that fits in "
                            "memory. Raise --memory, or leave out its long fields: --exclude-fields conversation"
                        ) from error
                    continue
                alone, rows = rows == 1, portions.fewer(request, rows, room.wanted_bytes)
                # A single row cannot be cut: it waits until there is room for the largest.
                size_bytes = largest_bytes if alone else portions.expected_bytes(request, rows)
                self.observer.note("asking for fewer rows", rows=rows)
                self.count(Counters(retries=1))
            except BaseException:
                room.release()
                raise
            else:
                portions.came(request, reading.page)
                self._granted_rows = max(self._granted_rows, rows)
                if not request.ids_only:
                    self._whole_rows += len(reading.page)
                    self._whole_bytes += reading.page.size_bytes
                return reading

    def vouched_by(self, vouch: Callable[[], Awaitable[None]]) -> None:
        """Lets `vouch` judge the token that an answer came for, before anybody has that answer."""
        self._attempts.vouch = vouch

    async def knows(self, identity: str) -> bool:
        """Returns whether the API has a conversation with this id, after as many attempts as it takes.

        At most `concurrency` pages and ids may be asked for at a time. Raises `SourceError`.
        """
        with self._attempts.advising():
            _, presence = await self._attempts.pursue(partial(self._attempt, lambda: self._source.look_up(identity)))
        return presence.is_known

    async def fields_of(self, identity: str) -> frozenset[str] | None:
        """Returns the names of the fields that the conversation is served with, after as many attempts as it takes.

        Returns None if the API does not know it or refuses it, or if it is too large. The caller may hold room for
        pages. Raises `TransientError`.
        """
        with self._attempts.advising():
            return await self._singles.names_of(identity)

    async def conversation(self, identity: str) -> EncodeRow | Absence:
        """Returns a conversation with all its fields, or why it did not come, after as many attempts as it takes.

        The caller may hold room for pages, and must take account of the row. Raises `SourceError`.
        """
        with self._attempts.advising():
            return await self._singles.find(identity)

    async def _ask_one(self, identity: str, fits: Callable[[int], bool]) -> Answer | Presence:
        return (await self._attempt(lambda: self._source.get_one(identity, fits)))[1]

    async def _ask_object(
        self, path: str, parameters: Mapping[str, str], fits: Callable[[int], bool]
    ) -> Answer | Presence:
        return (await self._attempt(lambda: self._source.get_object(path, parameters, fits)))[1]

    async def hold(self, size_bytes: int) -> Room:
        """Takes room for rows that came by id, even if there is none: pages wait until it is released."""
        return await self._budget.reserve(0, size_bytes, waits=False)

    def count(self, more: Counters) -> None:
        """Adds to what the run has cost."""
        self.counters += more
        self.report.counters += more
        trace.count(requests=more.requests, retries=more.retries, throttled=more.throttled)

    def _trouble(self) -> Trouble | None:
        """Returns what keeps this reader from an answer now, by the clock of the report."""
        now, began = self.clock(), self.report.began
        oldest = min(self._sent, default=now)
        trouble = self._attempts.trouble(oldest if now - oldest >= _SILENCE_SECONDS else None)
        if trouble is None:
            return None
        until = trouble.until_seconds
        return replace(
            trouble,
            since_seconds=trouble.since_seconds - began,
            until_seconds=None if until is None else until - began,
        )

    async def _attempt(self, ask: Callable[[], Awaitable[AnswerT]]) -> tuple[Ticket, AnswerT]:
        sent = await self._turns.take()
        self.count(Counters(requests=1))
        self._sent.append(sent.at)
        self.report.in_flight += 1
        try:
            with trace.span("request"):
                answer = await ask()
        except ThrottledError as error:
            self._turns.refused(sent, error)
            raise
        except BaseException:
            self._turns.succeeded(sent)
            raise
        else:
            self._turns.succeeded(sent, answer.quota)
            return sent, answer
        finally:
            self._sent.remove(sent.at)
            self.report.in_flight -= 1

    async def _read(self, request: PageRequest, room: Room) -> PageReading:
        sent, answer = await self._attempt(lambda: self._source.get_page(request, room.fits))
        self.wire_bytes += answer.wire_bytes
        elapsed = round((self.clock() - sent.at) * SECOND)
        served = None if answer.served_at is None else answer.served_at + answer.age
        told = ClockSample(sent.at, wall_clock() - elapsed, served, elapsed)
        try:
            decoded = await self._decoded(answer.body)
        except UnplacedError as error:
            decoded = await self._placed(request, answer.body, error)
        self._turns.page_took(self.clock() - sent.at)
        if decoded.style is not None:
            self._source.style = decoded.style
        self.count(Counters(pages=1))
        room.settle(len(decoded.page), decoded.page.size_bytes)
        return PageReading(replace(decoded.page, limit=request.limit), self._read_since(told, answer.served_at), room)

    def _read_since(self, told: ClockSample, date: Instant | None) -> Instant:
        if self.now is None:
            self.told.append(told)
        return (self.now or settle(told, (), None)).read_since(told, date)

    async def _decoded(self, body: bytes | memoryview, at: Instant | None = None) -> DecodedPage:
        decode = self._decoder.decode if at is None else partial(self._decoder.decode, at=at)
        return await to_thread.run_sync(decode, body, limiter=self._decoding)

    async def _placed(self, request: PageRequest, body: bytes | memoryview, unplaced: UnplacedError) -> DecodedPage:
        async def ask(following: PageRequest, most_bytes: int) -> DecodedPage:
            fits = most_bytes.__ge__
            _, answer = await self._attempt(lambda: self._source.get_page(following, fits))
            return await self._decoded(answer.body)

        at = await when(request, unplaced, ask)
        if at is None:
            self.observer.warn("the API answers with null in place of conversations, and with nothing beside it")
            nothing = await self._decoded(b"[]")
            return DecodedPage(replace(nothing.page, is_null=True), nothing.style)
        return await self._decoded(body, at)
