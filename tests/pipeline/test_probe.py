"""Tests the questions before the work is split, and what becomes of a source that fails at them."""

from collections import Counter
from collections.abc import Callable

import anyio
import pytest
from msgspec.structs import replace

from exporter.contract import BEGINNING, DAY, HOUR, MILLISECOND, MINUTE, SECOND
from exporter.coverage import Interval
from exporter.encode.decode import Decoder
from exporter.errors import AccessError, RequestRefusedError, UnplacedError
from exporter.fetch.wire.answer import Answer
from exporter.model import Page, PageRequest
from exporter.pipeline import reader as reader_module
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.probe import find_beginning, find_margin, is_hidden, open_list
from exporter.pipeline.reader import Reader
from exporter.progress import Quiet
from tests.fetch.walk.server_model import READS, Behaviour, Reads, ServerModel, StoredRow
from tests.pipeline.harness import SERVED_AT, ModelSource

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

T0 = 1_770_000_000 * SECOND
EVERYTHING = Interval(BEGINNING, T0)


def reader_of(source: ModelSource) -> Reader:
    return Reader(source, Decoder(None), Quiet(), ByteBudget(Shares.of(1 << 29, 8)), concurrency=4, max_rps=None)


async def test_until_one_question_is_answered_no_other_is_asked() -> None:
    class Slow(ModelSource):
        under_way = 0
        seen: list[int]

        async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
            self.under_way += 1
            await anyio.wait_all_tasks_blocked()
            self.seen.append(self.under_way)
            self.under_way -= 1
            return await super().get_page(request, fits)

    source = Slow(ServerModel([StoredRow(f"c{number}", T0 - number * SECOND) for number in range(200)], Behaviour()))
    source.seen = []
    await open_list(reader_of(source), None, "token_created")
    assert source.seen[0] == 1
    assert max(source.seen) == 2


@pytest.mark.parametrize("hides", [True, False])
async def test_the_first_questions_are_asked_at_once(hides: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "wall_clock", lambda: SERVED_AT)
    rows = [StoredRow(f"c{number}", T0 - number * SECOND, status="token_created") for number in range(200)]
    listed = [StoredRow(f"d{number}", T0 - number * SECOND) for number in range(200)]
    source = ModelSource(ServerModel([*rows, *listed], Behaviour(hides="token_created" if hides else None)))
    opening = await open_list(reader_of(source), T0, "token_created")
    assert opening.is_hidden is hides
    assert opening.density == pytest.approx((1 if hides else 2) / SECOND, rel=0.1)
    # The other question is whether one of the newest rows comes back when asked up to.
    # A list that shows one of the status needs no more questions.
    assert Counter(request.status for request in source.requests) == (
        {None: 3, "token_created": 1} if hides else {None: 2}
    )
    source.requests.clear()
    assert not (await open_list(reader_of(source), T0, None)).is_hidden
    assert [request.limit for request in source.requests] == [100, 1]


async def test_where_clocks_differ_three_answers_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "wall_clock", lambda: SERVED_AT + HOUR)
    source = ModelSource(ServerModel([StoredRow("c0", T0)], Behaviour()))
    reader = reader_of(source)
    await open_list(reader, None, None)
    assert [request.limit for request in source.requests] == [100, 1, 1]
    assert len(reader.told) == 3


async def test_a_token_that_is_refused_at_the_first_questions_is_told_as_such() -> None:
    def refuse(_: int) -> None:
        raise AccessError("the token was revoked")

    with pytest.raises(AccessError, match="revoked"):
        await open_list(reader_of(ModelSource(ServerModel([], Behaviour()), refuse)), None, "token_created")


@pytest.mark.parametrize("days", [0, 3, 40, 2000, 5000])
async def test_the_beginning_is_found_in_fourteen_questions(days: int) -> None:
    source = ModelSource(ServerModel([StoredRow("c0", T0 - days * DAY)], Behaviour()))
    found = await find_beginning(reader_of(source), EVERYTHING, None, 100)
    assert len(source.requests) <= 14
    assert all(request.limit == 1 and request.ids_only for request in source.requests)
    assert found <= T0 - days * DAY or days == 5000
    assert T0 - found <= max(DAY, 2 * days * DAY)


async def test_of_nothing_the_beginning_is_late() -> None:
    found = await find_beginning(reader_of(ModelSource(ServerModel([], Behaviour()))), EVERYTHING, None, 100)
    assert T0 - DAY <= found <= T0


@pytest.mark.parametrize(("days", "density", "questions"), [(10, 1 / SECOND, 15), (95, 1 / SECOND, 1), (10, None, 0)])
async def test_a_range_that_began_long_before_its_data(days: int, density: float | None, questions: int) -> None:
    source = ModelSource(ServerModel([StoredRow("c0", T0 - days * DAY)], Behaviour()))
    range_ = Interval(T0 - 100 * DAY, T0)
    found = await find_beginning(reader_of(source), range_, density, 1000)
    assert len(source.requests) == questions
    assert range_.start <= found <= T0 - days * DAY
    assert found == range_.start or T0 - found <= 2 * days * DAY


@pytest.mark.parametrize("at", [1, 4, 9])
async def test_a_refused_token_is_told_as_such(at: int) -> None:
    """The error is not in a group with those of other questions, which no caller expects."""

    def refuse(number: int) -> None:
        if number >= at:
            raise AccessError("the token was revoked")

    source = ModelSource(ServerModel([StoredRow("c0", T0 - 40 * DAY)], Behaviour()), refuse)
    with pytest.raises(AccessError, match="revoked"):
        await find_beginning(reader_of(source), EVERYTHING, None, 100)


class OddSource(ModelSource):
    """Answers with an element that is not a conversation where it has none."""

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        answer = await super().get_page(request, fits)
        return replace(answer, body=b"[17]") if answer.body == b"[]" else answer


async def test_an_element_that_is_no_conversation_ends_no_question_about_the_beginning() -> None:
    source = OddSource(ServerModel([StoredRow("c0", T0 - 40 * DAY)], Behaviour()))
    assert await find_beginning(reader_of(source), EVERYTHING, None, 100) <= T0 - 40 * DAY


async def test_an_element_that_is_no_conversation_ends_no_question_about_a_hidden_status() -> None:
    """Then this cannot be decided."""
    source = OddSource(ServerModel([StoredRow("c0", T0)], Behaviour()))
    assert await is_hidden(reader_of(source), "token_created")


async def test_an_element_that_is_no_conversation_ends_no_question_about_the_bound_of_updates() -> None:
    rows = [StoredRow("c0", T0 - DAY, updated_at=T0)]
    source = OddSource(ServerModel(rows, Behaviour(excludes=frozenset({"updated_after"}))))
    assert await find_margin(reader_of(source), {"c0": T0}) == MILLISECOND


async def test_a_list_of_anything_else_is_refused_at_the_first_question() -> None:
    with pytest.raises(UnplacedError, match="Check the base URL"):
        await open_list(reader_of(OddSource(ServerModel([], Behaviour()))), T0, "token_created")


class RefusingSource(ModelSource):
    """Refuses bounds before `oldest`."""

    oldest = BEGINNING

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        if request.created_before is not None and request.created_before < self.oldest:
            self.requests.append(request)
            raise RequestRefusedError("422: created_before is too long ago", is_final=True)
        return await super().get_page(request, fits)


@pytest.mark.parametrize("days", [1, 7, 60, 400])
async def test_where_the_bound_is_refused_nothing_is_split(days: int) -> None:
    source = RefusingSource(ServerModel([StoredRow("c0", T0 - 500 * DAY)], Behaviour()))
    source.oldest = T0 - days * DAY
    found = await find_beginning(reader_of(source), EVERYTHING, None, 100)
    assert len(source.requests) <= 14
    assert source.oldest <= found <= T0 - days * DAY // 2


async def test_a_status_that_nothing_has_is_not_hidden() -> None:
    source = ModelSource(ServerModel([], Behaviour()))
    assert not await is_hidden(reader_of(source), "token_created")
    assert len(source.requests) == 1


class EmptyAtFirst(ServerModel):
    """Answers the first question for a status with an empty page."""

    is_empty = True

    def answer(self, request: PageRequest) -> Page[StoredRow]:
        page = ServerModel.answer(self, request)
        if request.status is None or not self.is_empty:
            return page
        self.is_empty = False
        return ServerModel([], self.behaviour).answer(request)


async def test_one_empty_answer_does_not_prove_that_nothing_is_hidden() -> None:
    rows = [StoredRow("c0", T0), StoredRow("c1", T0 - DAY, status="token_created")]
    source = ModelSource(EmptyAtFirst(rows, Behaviour(hides="token_created")))
    assert (await open_list(reader_of(source), None, "token_created", doubts_empty=True)).is_hidden


@pytest.mark.parametrize("hides", [True, False])
async def test_a_sample_whose_status_changes_meanwhile_shows_nothing(hides: bool) -> None:
    """The oldest conversation goes on before it is looked for in the list, which holds it from then on."""
    rows = [StoredRow(f"c{number}", T0 - number * DAY, status="token_created") for number in range(4)]
    server = ServerModel(rows, Behaviour(hides="token_created" if hides else None))

    def change(number: int) -> None:
        if number == 2:
            server.rows[3] = replace(server.rows[3], status="completed")

    source = ModelSource(server, change)
    assert await is_hidden(reader_of(source), "token_created") is hides
    assert len(source.requests) <= (9 if hides else 4)


@pytest.mark.parametrize("hides", [True, False])
@pytest.mark.parametrize("reads", READS)
async def test_however_bounds_are_read_nothing_is_called_hidden_that_is_not(hides: bool, reads: Reads) -> None:
    rows = [StoredRow(f"c{number}", T0 - number * 7 * MINUTE + 30 * SECOND) for number in range(500)]
    rows += [StoredRow(f"d{number}", T0 - number * HOUR - 17, status="token_created") for number in range(9)]
    behaviour = Behaviour(
        hides="token_created" if hides else None, before=reads, after=reads, cursor_reads=reads, compares="stored"
    )
    assert await is_hidden(reader_of(ModelSource(ServerModel(rows, behaviour))), "token_created") is hides


async def test_a_status_that_is_always_gone_before_it_is_looked_for_is_read_apart() -> None:
    rows = [StoredRow(f"c{number}", T0 - number * DAY, status="token_created") for number in range(9)]
    server = ServerModel(rows, Behaviour(hides="token_created"))

    def change(number: int) -> None:
        if number % 2 == 0:
            server.rows[-number // 2] = replace(server.rows[-number // 2], status="completed")

    assert await is_hidden(reader_of(ModelSource(server, change)), "token_created")


class IgnoresStatus(ServerModel):
    def answer(self, request: PageRequest) -> Page[StoredRow]:
        return ServerModel.answer(self, replace(request, status=None))


async def test_where_the_filter_is_ignored_nothing_is_read_apart() -> None:
    source = ModelSource(IgnoresStatus([StoredRow("c0", T0 - DAY)], Behaviour()))
    assert not await is_hidden(reader_of(source), "token_created")
