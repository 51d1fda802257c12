"""Tests how one page is read, however many attempts it takes, in simulated time, so that nothing here waits."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR, SECOND, TimestampStyle, parse_timestamp
from exporter.encode.decode import Decoder
from exporter.errors import (
    AccessError,
    ContradictionError,
    NoConnectionError,
    RequestRefusedError,
    ServerFailedError,
    SourceError,
    ThrottledError,
    TooLargeError,
    TransientError,
    UnreachableError,
    UnusableAnswerError,
)
from exporter.fetch.pace.page_size import Portions
from exporter.fetch.wire.answer import Answer, Presence
from exporter.model import PageRequest
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.reader import Reader
from exporter.progress import Quiet, Snapshot, Trouble
from exporter.schedule.clock import Now
from tests.pipeline.harness import SERVED_AT, Clock

pytestmark = pytest.mark.anyio

REQUEST = PageRequest(limit=10)
SHARES = Shares.of(1 << 29, 8)
GOOD = b'[{"id":"c1","created_at":"2026-02-10T05:00:00+00:00"}]'


class ScriptedSource:
    """Answers in turn what the script says, and then always its last line. Each attempt takes `seconds`."""

    def __init__(self, clock: Clock, script: Iterator[bytes | SourceError] | list[bytes | SourceError]) -> None:
        self.style = TimestampStyle()
        self.is_reached = False
        self.attempts: list[float] = []
        self.seconds = 0.0
        self.served_at: int | None = SERVED_AT
        self._clock = clock
        self._script = iter(script)
        self._last: bytes | SourceError = GOOD

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        assert request == REQUEST
        return Answer(await self._answer(), self.served_at)

    async def look_up(self, identity: str) -> Presence:
        return Presence(await self._answer() == identity.encode())

    async def get_object(
        self, path: str, parameters: Mapping[str, str], fits: Callable[[int], bool]
    ) -> Answer | Presence:
        return Presence(is_known=False)

    async def get_one(self, identity: str, fits: Callable[[int], bool]) -> Answer:
        body = await self._answer()
        if not fits(len(body)):
            raise TooLargeError("too much for memory")
        return Answer(body, self.served_at)

    async def _answer(self) -> bytes:
        self.attempts.append(self._clock.now)
        await checkpoint()
        self._clock.now += self.seconds
        self._last = next(self._script, self._last)
        if isinstance(self._last, SourceError):
            raise self._last
        return self._last


class LimitingSource(ScriptedSource):
    """Refuses more than `most_rows` rows."""

    def __init__(self, clock: Clock, most_rows: int) -> None:
        super().__init__(clock, [])
        self.limits: list[int] = []
        self._most_rows = most_rows

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        self.limits.append(request.limit)
        if request.limit > self._most_rows or request.created_after is not None:
            raise RequestRefusedError("host answered 422: limit", is_final=True)
        return Answer(GOOD, self.served_at)


class NoteRecorder(Quiet):
    def __init__(self) -> None:
        self.notes: list[dict[str, object]] = []
        self.warnings: list[tuple[str, object]] = []

    def note(self, event: str, /, **details: object) -> None:
        self.notes.append(details)

    def warn(self, event: str, /, **details: object) -> None:
        self.warnings.append((event, details.get("reason")))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Returns a clock that waiting moves on."""
    clock = Clock()
    clock.take_over(monkeypatch)
    return clock


Make = Callable[..., tuple[Reader, ScriptedSource]]


@pytest.fixture
def make(clock: Clock) -> Make:
    def make(*script: bytes | SourceError, max_rps: float | None = None) -> tuple[Reader, ScriptedSource]:
        source = ScriptedSource(clock, list(script))
        return Reader(
            source, Decoder(None), Quiet(), ByteBudget(SHARES), concurrency=2, max_rps=max_rps, clock=clock
        ), source

    return make


async def test_a_page_is_asked_for_until_it_is_whole(make: Make) -> None:
    reader, source = make(UnreachableError("reset"), ServerFailedError("500"), GOOD[:-9], GOOD)
    page = (await reader.look(REQUEST)).page
    assert [row.id for row in page.rows.rows] == ["c1"]
    assert page.size_bytes == len(GOOD)
    counters = reader.counters
    assert (counters.requests, counters.retries, counters.pages, counters.throttled) == (4, 3, 1, 0)
    assert len(source.attempts) == 4
    assert reader.in_flight == 0


async def test_an_api_that_refuses_more_rows_is_asked_for_as_many_as_it_has_granted(clock: Clock) -> None:
    source = LimitingSource(clock, most_rows=100)
    reader = Reader(source, Decoder(None), Quiet(), ByteBudget(SHARES), concurrency=2, max_rps=None, clock=clock)
    with pytest.raises(RequestRefusedError, match="422"):
        await reader.look(PageRequest(limit=1000))
    source.limits.clear()
    for limit in (80, 1000, 500, 90):
        assert (await reader.look(PageRequest(limit=limit, ids_only=True))).page.limit <= 80
    assert source.limits == [80, 1000, 80, 80, 80]
    with pytest.raises(RequestRefusedError, match="422"):
        await reader.look(PageRequest(limit=1000, created_after=1))
    assert reader._budget._held == 0


async def test_a_question_that_may_be_refused_has_nothing_for_an_answer_then(clock: Clock) -> None:
    source = LimitingSource(clock, most_rows=100)
    reader = Reader(source, Decoder(None), Quiet(), ByteBudget(SHARES), concurrency=2, max_rps=None, clock=clock)
    for limit in (10, 50):
        asked = PageRequest(limit=limit, created_after=1, may_be_refused=True, ids_only=True)
        assert len((await reader.look(asked)).page) == 0
        await reader.look(PageRequest(limit=10, ids_only=True))
    assert source.limits == [10, 10, 50, 10, 10]
    assert reader._budget._held == 0


async def test_an_id_is_looked_up_until_there_is_an_answer(make: Make, clock: Clock) -> None:
    reader, source = make(UnreachableError("reset"), ThrottledError("429", 7.0), b"c1", b"")
    assert await reader.knows("c1")
    assert not await reader.knows("c1")
    assert source.attempts[2] - source.attempts[1] >= 7
    counters = reader.counters
    assert (counters.requests, counters.retries, counters.throttled, reader.in_flight) == (4, 2, 1, 0)
    with pytest.raises(AccessError):
        await make(AccessError("401"))[0].knows("c1")


async def test_the_fields_of_one_conversation_are_asked_for_until_they_are_whole(make: Make) -> None:
    reader, source = make(UnreachableError("reset"), b'{"id":"c1",', b'{"id":"c1","agent":null,"new":[1]}')
    assert await reader.fields_of("c1") == frozenset({"id", "agent", "new"})
    assert (len(source.attempts), reader.counters.retries) == (3, 2)
    for refusal in (RequestRefusedError("404"), AccessError("403"), TooLargeError("30 MB")):
        assert await make(refusal)[0].fields_of("c1") is None
    with pytest.raises(UnreachableError, match="Run the same command again"):
        await make(UnreachableError("reset"))[0].fields_of("c1")


async def test_one_conversation_does_not_wait_for_the_room_that_pages_hold(make: Make) -> None:
    reader, _ = make(GOOD[1:-1])
    held = await reader._budget.reserve(1, SHARES.largest_page)
    with anyio.fail_after(60):
        assert await reader.fields_of("c1") == frozenset({"id", "created_at"})
    held.release()
    assert reader._budget._held == 0


@pytest.mark.parametrize("error", [ContradictionError("no list"), SourceError("its certificate cannot be verified")])
@pytest.mark.parametrize("contacted", [True, False])
async def test_what_asking_again_would_not_change_is_raised_at_once(
    make: Make, error: SourceError, contacted: bool
) -> None:
    reader, source = make(*([GOOD] if contacted else []), error)
    if contacted:
        await reader.look(REQUEST)
    with pytest.raises(type(error)) as raised:
        await reader.look(REQUEST)
    assert raised.value is error
    assert len(source.attempts) == 1 + contacted


REFUSALS: dict[str, Callable[[], SourceError]] = {
    "401": lambda: AccessError("answered 401"),
    "404": lambda: RequestRefusedError("answered 404"),
    "422": lambda: RequestRefusedError("answered 422", is_final=True),
}


@pytest.mark.parametrize("status", REFUSALS)
async def test_one_refusal_is_not_believed_after_pages(make: Make, status: str) -> None:
    """A token service that restarts says so, or a gateway that has just come up."""
    error = REFUSALS[status]()
    reader, source = make(GOOD, error, GOOD, error, error, error, GOOD)
    for _ in range(3):
        assert len((await reader.look(REQUEST)).page) == 1
    assert len(source.attempts) == 7
    assert reader.counters.retries == 4


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refusal_that_lasts_is_believed_after_some_seconds(make: Make, clock: Clock, status: str) -> None:
    error = REFUSALS[status]()
    reader, source = make(GOOD, ServerFailedError("500"), error)
    await reader.look(REQUEST)
    with pytest.raises(type(error), match=r"^refused [4-9]\d? times in \d\d s: answered [34]\d\d") as raised:
        await reader.look(REQUEST)
    assert raised.value is error
    assert 6 <= len(source.attempts) < 25
    assert 10 <= clock.now < 60


@pytest.mark.parametrize("status", ["401", "404"])
async def test_a_refusal_at_the_first_contact_is_asked_twice_more_and_soon_believed(
    make: Make, clock: Clock, status: str
) -> None:
    error = REFUSALS[status]()
    reader, source = make(error, error, GOOD)
    await reader.look(REQUEST)
    reader, source = make(REFUSALS[status]())
    before = clock.now
    with pytest.raises(type(error), match=r"^refused 3 times in \d s: answered"):
        await reader.look(REQUEST)
    assert len(source.attempts) == 3
    assert clock.now - before < 2


async def test_what_the_api_says_of_the_first_question_is_believed(make: Make) -> None:
    wrong = RequestRefusedError("answered 422", is_final=True)
    reader, source = make(wrong)
    with pytest.raises(RequestRefusedError, match=r"^answered 422"):
        await reader.look(REQUEST)
    assert len(source.attempts) == 1
    # The same goes for any that it may not know how to answer.
    reader, source = make(GOOD, wrong)
    await reader.look(REQUEST)
    with pytest.raises(RequestRefusedError, match=r"^answered 422"):
        await reader.look(REQUEST, believes=True)
    assert len(source.attempts) == 2


async def test_a_host_where_nobody_is_is_given_up_within_seconds(make: Make, clock: Clock) -> None:
    reader, source = make(NoConnectionError("no such host"))
    with pytest.raises(NoConnectionError, match=r"^given up after \d+ attempts in 10 s: no such host"):
        await reader.look(REQUEST)
    assert 3 <= len(source.attempts) < 20
    assert clock.now <= 10


@pytest.mark.parametrize(
    "sign_of_life", [ServerFailedError("502"), ThrottledError("503", None, 503), AccessError("401")]
)
async def test_a_host_that_has_shown_a_sign_of_life_is_waited_for(
    make: Make, clock: Clock, sign_of_life: SourceError
) -> None:
    reader, _ = make(sign_of_life, NoConnectionError("nobody listens"))
    with pytest.raises(NoConnectionError):
        await reader.look(REQUEST)
    assert 120 <= clock.now < 160


async def test_json_that_is_no_list_of_conversations_is_not_asked_for_again(make: Make) -> None:
    reader, source = make(b"[1, 2]")
    with pytest.raises(ContradictionError):
        await reader.look(REQUEST)
    assert len(source.attempts) == 1


@pytest.mark.parametrize("contacted", [True, False])
async def test_a_fault_that_stays_is_raised_after_some_attempts(make: Make, clock: Clock, contacted: bool) -> None:
    fault = UnreachableError("no route")
    reader, source = make(*([GOOD] if contacted else []), fault)
    if contacted:
        await reader.look(REQUEST)
    with pytest.raises(UnreachableError) as raised:
        await reader.look(REQUEST)
    said, what_now = str(raised.value).splitlines()
    minutes = "5 min" if contacted else "2 min"
    assert re.fullmatch(rf"given up after {len(source.attempts) - contacted} attempts in {minutes} .*: no route", said)
    longer = "" if contacted else ", or wait longer for its first page: --wait 10m"
    assert what_now == f"Run the same command again when the API answers{longer}"
    assert (20 if contacted else 8) < len(source.attempts) < 50
    assert 300 <= clock.now < 330 if contacted else 120 <= clock.now < 150


async def test_a_run_of_faults_ends_though_each_request_gets_through_in_the_end(make: Make) -> None:
    fault = ServerFailedError("500")
    reader, source = make(*([fault] * 8 + [GOOD]) * 30)
    with pytest.raises(ServerFailedError, match=r"^given up, because most requests have failed lately: 500"):
        for _ in range(30):
            await reader.look(REQUEST)
    assert len(source.attempts) < 150


async def test_faults_that_are_rarer_than_successes_never_end_a_run(make: Make) -> None:
    reader, _ = make(*[UnreachableError("reset"), GOOD] * 300)
    for _ in range(300):
        await reader.look(REQUEST)
    assert reader.counters.retries == 300


async def test_retry_after_is_waited_for_by_everybody(make: Make) -> None:
    reader, source = make(GOOD, ThrottledError("429", 7.0), GOOD)
    await reader.look(REQUEST)
    await reader.look(REQUEST)
    assert source.attempts[2] - source.attempts[1] >= 7
    assert (reader.counters.throttled, reader.counters.retries) == (1, 1)


async def test_minutes_of_refusals_are_not_faults(make: Make) -> None:
    reader, source = make(GOOD, *[ThrottledError("429", 20.0)] * 40, GOOD)
    await reader.look(REQUEST)
    await reader.look(REQUEST)
    assert source.attempts[-1] >= 800
    assert reader.counters.throttled == 40


async def test_a_refusal_for_hours_is_raised(make: Make) -> None:
    reader, _ = make(GOOD, ThrottledError("429", 3600.0))
    await reader.look(REQUEST)
    with pytest.raises(ThrottledError) as raised:
        await reader.look(REQUEST)
    said, what_now = str(raised.value).splitlines()
    assert re.fullmatch(
        r"given up after 1 attempt in 0 s: 429, and asks to be left alone for 1 h 00 min, until \d{4}-.*:\d\dZ", said
    )
    assert abs(parse_timestamp(said.rpartition(" ")[2]) - wall_clock() - HOUR) < 60 * SECOND
    assert what_now == "Run the same command again when the API answers"


async def test_the_ceiling_is_kept_by_all_workers_together(make: Make, clock: Clock) -> None:
    reader, source = make(GOOD, max_rps=10.0)

    async def work() -> None:
        for _ in range(25):
            await reader.look(REQUEST)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(work)
    assert len(source.attempts) == 100
    # From the first one on, and after a pause as well.
    assert min(later - one for one, later in pairwise(source.attempts)) >= 0.1 - 1e-6
    assert clock.now >= 9
    clock.now += 60
    beside = Reader(
        source, Decoder(None), Quiet(), ByteBudget(SHARES), concurrency=2, max_rps=10.0, clock=clock, beside=reader
    )
    for one in (reader, beside, beside, reader):
        await one.look(REQUEST)
    assert min(later - one for one, later in pairwise(source.attempts)) >= 0.1 - 1e-6
    assert (beside.counters.requests, reader.report.counters.requests) == (2, 104)


async def test_a_page_was_read_after_the_servers_clock_less_what_it_took(make: Make) -> None:
    reader, source = make(GOOD)
    source.seconds = 2.5
    assert (await reader.look(REQUEST)).read_since == SERVED_AT - round(2.5 * SECOND) - SECOND


async def test_without_a_servers_clock_this_machines_is_not_believed_alone(make: Make) -> None:
    reader, source = make(GOOD)
    source.served_at = None
    before = wall_clock()
    read_since = (await reader.look(REQUEST)).read_since
    assert before <= read_since + DAY <= wall_clock()


async def test_a_page_was_not_read_after_the_time_that_the_run_goes_by(make: Make) -> None:
    reader, source = make(GOOD)
    source.seconds = 2.5
    reader.now = Now(-10.0, SERVED_AT - HOUR)
    assert (await reader.look(REQUEST)).read_since == SERVED_AT - HOUR + 10 * SECOND
    source.served_at = SERVED_AT - 2 * HOUR
    assert (await reader.look(REQUEST)).read_since == SERVED_AT - 2 * HOUR - round(2.5 * SECOND) - SECOND
    source.served_at = 0
    assert (await reader.look(REQUEST)).read_since == SERVED_AT - HOUR + 15 * SECOND - DAY
    assert reader.told == []


async def test_the_server_is_asked_in_its_own_hand(make: Make) -> None:
    reader, source = make(b"[]", GOOD, b"[]")
    for offset in ("Z", "+00:00", "+00:00"):
        await reader.look(REQUEST)
        assert source.style == TimestampStyle(offset)


async def test_each_repeat_is_told_with_its_reason(clock: Clock) -> None:
    observer = NoteRecorder()
    source = ScriptedSource(clock, [UnreachableError("reset by peer"), GOOD])
    reader = Reader(source, Decoder(None), observer, ByteBudget(SHARES), concurrency=1, max_rps=None, clock=clock)
    await reader.look(REQUEST)
    assert [note["reason"] for note in observer.notes] == ["reset by peer"]


class Watching(Quiet):
    """Keeps every snapshot."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def progress(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


class Watched(ScriptedSource):
    """Sends a snapshot before each answer, when the request has gone on for `seconds`."""

    reader: Reader

    async def _answer(self) -> bytes:
        self._clock.now += self.seconds
        self.reader.report.send()
        self.seconds, seconds = 0.0, self.seconds
        try:
            return await super()._answer()
        finally:
            self.seconds = seconds


def watched(clock: Clock, *script: bytes | SourceError, **options: Any) -> tuple[Watched, Watching]:
    source, observer = Watched(clock, list(script)), Watching()
    source.reader = Reader(
        source, Decoder(None), observer, ByteBudget(SHARES), concurrency=1, max_rps=None, clock=clock, **options
    )
    return source, observer


async def test_what_the_api_said_last_is_told_until_it_answers(clock: Clock) -> None:
    clock.now = 100.0
    failures = (
        ThrottledError("slow down", 20.0),
        ServerFailedError("502. Wait\nand see"),
        GOOD,
        GOOD,
        UnreachableError("cut"),
        GOOD,
    )
    source, observer = watched(clock, *failures)
    for _ in range(3):
        await source.reader.look(REQUEST)
    first, throttled, failed, good, again, cut = (snapshot.trouble for snapshot in observer.snapshots)
    assert (first, good, again) == (None, None, None)
    # Until a page has come, a request is pursued for two minutes, and then for five.
    assert throttled == Trouble("slow down", 0.0, None, throttled=True)
    assert failed == Trouble("502", 0.0, 120.0)
    answered_at = observer.snapshots[3].seconds
    assert cut == Trouble("cut", answered_at, answered_at + 300.0)
    source.reader.report.send()
    assert observer.snapshots[-1].trouble is None
    assert (observer.snapshots[-1].retries, observer.snapshots[-1].throttled) == (3, 1)


async def test_a_silence_is_told_and_when_it_is_given_up(clock: Clock) -> None:
    source, observer = watched(clock, GOOD, wait_seconds=30.0)
    source.seconds = 7.0
    await source.reader.look(REQUEST)
    await source.reader.look(REQUEST)
    source.seconds = 4.0
    await source.reader.look(REQUEST)
    assert [snapshot.trouble for snapshot in observer.snapshots] == [
        Trouble("no answer yet", 0.0, 30.0),
        Trouble("no answer yet", 7.0, 307.0),
        None,
    ]


async def test_the_silence_of_a_server_that_has_accepted_a_connection_is_told_until_two_minutes_are_over(
    clock: Clock,
) -> None:
    source, observer = watched(clock, NoConnectionError("refused"), GOOD, wait_seconds=10.0)
    source.seconds, source.is_reached = 7.0, True
    await source.reader.look(REQUEST)
    first, second = (snapshot.trouble for snapshot in observer.snapshots)
    assert first == Trouble("no answer yet", 0.0, 120.0)
    # What failed before the connection no longer counts.
    assert second is not None
    assert (second.reason, second.until_seconds) == ("no answer yet", 120.0)


@pytest.mark.parametrize("wait_seconds", [10.0, 120.0])
async def test_where_nothing_ever_answers_a_run_gives_up_on_time_and_says_how_to_wait(
    clock: Clock, wait_seconds: float
) -> None:
    source, observer = watched(clock, NoConnectionError("no such host"), wait_seconds=wait_seconds)
    with pytest.raises(NoConnectionError, match=r"no such host\n.*: --wait 2m"):
        await source.reader.look(REQUEST)
    assert clock.now == pytest.approx(wait_seconds)
    trouble = observer.snapshots[-1].trouble
    assert trouble is not None
    assert (trouble.reason, trouble.since_seconds, trouble.until_seconds) == ("no such host", 0.0, wait_seconds)


async def test_a_reader_beside_another_knows_that_the_api_has_answered(clock: Clock) -> None:
    source, _ = watched(clock, GOOD, NoConnectionError("refused"), wait_seconds=10.0)
    await source.reader.look(REQUEST)
    beside = Reader(
        source,
        Decoder(None),
        Quiet(),
        ByteBudget(SHARES),
        concurrency=1,
        max_rps=None,
        clock=clock,
        wait_seconds=10.0,
        beside=source.reader,
    )
    with pytest.raises(NoConnectionError, match=r"refused\nRun the same command again when the API answers$"):
        await beside.look(REQUEST)
    assert clock.now >= 300


async def test_a_refusal_at_the_first_contact_is_no_silence(clock: Clock) -> None:
    observer = NoteRecorder()
    source = ScriptedSource(clock, [AccessError("401"), GOOD])
    reader = Reader(source, Decoder(None), observer, ByteBudget(SHARES), concurrency=1, max_rps=None, clock=clock)
    await reader.look(REQUEST)
    assert observer.warnings == []
    assert [note["reason"] for note in observer.notes] == ["401"]


async def test_a_request_that_is_given_up_is_no_longer_in_flight(clock: Clock) -> None:
    class Hanging(ScriptedSource):
        async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
            await anyio.sleep_forever()
            raise AssertionError

    reader = Reader(
        Hanging(clock, []), Decoder(None), Quiet(), ByteBudget(SHARES), concurrency=1, max_rps=None, clock=clock
    )
    async with anyio.create_task_group() as group:
        group.start_soon(reader.look, REQUEST)
        await anyio.wait_all_tasks_blocked()
        assert reader.in_flight == 1
        group.cancel_scope.cancel()
    assert reader.in_flight == 0
    assert reader.counters.requests == 1


def test_every_fault_that_is_worth_another_attempt_is_tried() -> None:
    """This fails for a new kind of `TransientError`, so that it is added here."""
    assert set(TransientError.__subclasses__()) == {
        ThrottledError,
        UnreachableError,
        ServerFailedError,
        UnusableAnswerError,
    }


class Rows(ScriptedSource):
    """Answers as many rows as asked for, of `row_bytes` each."""

    row_bytes = 1_000
    limits: list[int]
    #: The number of answers that are spoilt before the next good one: there is never room for them.
    spoilt = 0

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        self.limits.append(request.limit)
        await checkpoint()
        if self.spoilt:
            self.spoilt -= 1
            assert not fits(500_000_000)
            raise TooLargeError("too much for memory")
        row = GOOD[1:-1].ljust(self.row_bytes)
        body = b"[" + b",".join(row.replace(b"c1", b"%d" % number) for number in range(request.limit)) + b"]"
        for size in range(0, len(body) + 1, len(body) // 7):
            if not fits(size):
                raise TooLargeError("too much for memory")
        return Answer(body, SERVED_AT)


def rows_reader(clock: Clock, row_bytes: int) -> tuple[Reader, Rows, ByteBudget]:
    source = Rows(clock, [])
    source.row_bytes, source.limits = row_bytes, []
    shares = Shares(page=100_000, largest_page=400_000, in_flight=1_802_048, row_group=1 << 20)
    budget = ByteBudget(shares)
    return Reader(source, Decoder(None), Quiet(), budget, concurrency=1, max_rps=None, clock=clock), source, budget


async def test_a_page_that_is_too_large_is_asked_for_with_fewer_rows(clock: Clock) -> None:
    reader, source, budget = rows_reader(clock, 50_000)
    portions = Portions(100_000, 400_000, row_bytes=100)
    request = PageRequest(limit=1000)
    reading = await reader.read(request, portions)
    assert source.limits == [1000, 250, 62, 15, 3]
    assert (len(reading.page), reading.page.limit) == (3, 3)
    assert reader.counters.retries == 4
    reading.room.release()
    # The next walk begins with what this one has learned.
    for known in (portions, reader.portions()):
        (await reader.read(request, known)).room.release()
        assert source.limits[-1] == 1
    assert budget._held == 0


async def test_a_single_row_waits_for_the_room_it_needs(clock: Clock) -> None:
    reader, source, budget = rows_reader(clock, 390_000)
    other = await budget.reserve(1, 300_000)
    readings = []

    async def read() -> None:
        readings.append(await reader.read(PageRequest(limit=1000), Portions(100_000, 400_000, row_bytes=300_000)))

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        assert readings == []
        other.release()
    assert len(readings[0].page) == 1
    assert set(source.limits) == {1}


async def test_a_row_that_there_is_no_room_for_ends_it_and_says_what_to_do(clock: Clock) -> None:
    reader, source, budget = rows_reader(clock, 500_000)
    with pytest.raises(TooLargeError, match=r"one conversation takes more than .*--memory.*--exclude-fields"):
        await reader.look(PageRequest(limit=1000))
    # Six times with all the room there is.
    assert source.limits[-7:] == [1] * 7
    assert len(source.limits) < 15
    assert 0 < clock.now < 16
    assert budget._held == 0


@pytest.mark.parametrize("is_first", [True, False])
async def test_answers_that_are_too_large_for_a_while_neither_end_a_run_nor_make_its_pages_small_for_long(
    clock: Clock, is_first: bool
) -> None:
    reader, source, budget = rows_reader(clock, 100)
    portions = reader.portions()

    async def read(limit: int) -> None:
        (await reader.read(PageRequest(limit=limit), portions)).room.release()

    if not is_first:
        for _ in range(8):
            await read(1000)
    source.spoilt = 6 if is_first else 10
    await read(1 if is_first else 1000)
    assert source.spoilt == 0
    assert source.limits[-4:] == [1] * 4
    assert clock.now > 0
    for _ in range(8):
        await read(1000)
    assert source.limits[-1] > 200
    assert budget._held == 0


@pytest.mark.parametrize(("row_bytes", "rows"), [(0, 12), (512, 195)])
async def test_rows_of_a_known_size_are_asked_for_by_the_page_at_once(clock: Clock, row_bytes: int, rows: int) -> None:
    budget = ByteBudget(Shares(page=100_000, largest_page=400_000, in_flight=1_802_048, row_group=1 << 20))
    source = Rows(clock, [])
    reader = Reader(
        source, Decoder(None), Quiet(), budget, concurrency=1, max_rps=None, clock=clock, row_bytes=row_bytes
    )
    assert reader.portions().rows(PageRequest(1000)) == rows
