"""The usage summary is read whichever way it is written, and never half."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import DAY, EPOCH, HOUR, USAGE_DAYS, USAGE_PATH, parse_timestamp
from exporter.coverage import Interval
from exporter.errors import AccessError, RequestRefusedError, UnusableAnswerError
from exporter.partitions import date_of
from exporter.pipeline.reader import Reader
from exporter.progress import Quiet
from exporter.run.connect import open_reader
from exporter.run.context import RunContext
from exporter.run.usage import UsageDay, UsageSummary, merged, questions, read_earlier_usage, summary_of, usage_between
from exporter.sandbox import TOKEN, TOKEN_NOSENSITIVE, Behaviour, Row, Sandbox, make_conversations, serve
from exporter.settings import Credentials, Request, RunSettings

pytestmark = pytest.mark.anyio

SINCE = parse_timestamp("2026-02-10")
ROWS = make_conversations(300, SINCE, SINCE + 6 * DAY, transcripts=False)
ASKED = Interval(SINCE, SINCE + DAY)


@asynccontextmanager
async def reading(sandbox: Sandbox, token: str = TOKEN) -> AsyncIterator[Reader]:
    context = RunContext(RunSettings(base_url=sandbox.url), Credentials(token), Quiet())
    async with open_reader(Request(), context) as reader:
        yield reader


async def days_by(behaviour: Behaviour, since: int = SINCE, until: int = SINCE + 6 * DAY) -> tuple[UsageDay, ...]:
    async with serve(ROWS, behaviour) as sandbox, reading(sandbox) as reader:
        return await usage_between(reader, since, until)


@pytest.mark.parametrize(
    "behaviour",
    [
        *(
            Behaviour(usage_ends=ends)
            for ends in ("half-open", "included", "excluded", "days-included", "days-excluded")
        ),
        *(Behaviour(usage_numbers=numbers) for numbers in ("text", "float")),
        Behaviour(usage_daily="sparse", usage_daily_key="breakdown"),
    ],
    ids=lambda one: f"{one.usage_ends} {one.usage_numbers} {one.usage_daily}",
)
async def test_the_days_inside_are_whole(behaviour: Behaviour) -> None:
    made = Counter(date_of(row.created_at // DAY) for row in ROWS if SINCE + DAY <= row.created_at < SINCE + 4 * DAY)
    found = await days_by(behaviour, SINCE + DAY + HOUR, SINCE + 4 * DAY - HOUR)
    assert {day.day: day.total for day in found if day.total} == made
    assert all(day.voice is not None and day.voice + (day.chat or 0) == day.total for day in found)


async def test_a_token_without_the_scope_is_told_so() -> None:
    async with serve(ROWS) as sandbox, reading(sandbox, TOKEN_NOSENSITIVE) as reader:
        with pytest.raises(AccessError, match=r"^the usage summary needs a token with the scope billing:manage"):
            await usage_between(reader, SINCE, SINCE + DAY)
        assert [request.path for request in sandbox.requests] == [USAGE_PATH]


async def test_an_api_without_it_is_told_of() -> None:
    with pytest.raises(RequestRefusedError, match="this API has no usage summary"):
        await days_by(Behaviour(usage="absent"))


@pytest.mark.parametrize(
    ("behaviour", "first", "count"),
    [
        (Behaviour(), SINCE - 800 * DAY, 3),
        (Behaviour(usage_daily="sparse", usage_ends="days-included"), SINCE - 800 * DAY, 3),
        (Behaviour(usage_daily="absent"), SINCE - 3 * 364 * DAY, 3),
    ],
)
async def test_it_goes_back_until_a_year_has_none(behaviour: Behaviour, first: int, count: int) -> None:
    days = (0, 1, 100, 500, 800, 1500)
    rows = [Row(at, at, {"id": f"c-{at}", "channel": "text"}) for at in (SINCE - day * DAY for day in days)]
    async with serve(rows, behaviour) as sandbox, reading(sandbox) as reader:
        found, begins = await read_earlier_usage(reader, SINCE)
        assert (begins, len(found), len(sandbox.requests)) == (first, count, count + 1)
        assert await read_earlier_usage(reader, SINCE - 801 * DAY) == ((), SINCE - 801 * DAY)
        assert await read_earlier_usage(reader, EPOCH) == ((), EPOCH)


@pytest.mark.parametrize("daily", ["incomplete", "absent"])
async def test_a_list_that_leaves_days_out_is_not_believed(daily: Any) -> None:
    with pytest.raises(UnusableAnswerError, match="does not list all days that its total counts"):
        await days_by(Behaviour(usage_daily=daily))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2000), st.integers(1, 900 * 24), st.integers(-3, 3))
def test_each_day_lies_inside_a_question_that_is_not_too_long(day: int, hours: int, behind: int) -> None:
    since = SINCE + day * DAY + HOUR
    until = since + hours * HOUR
    now = until + behind * DAY
    asked = list(questions(since, until, now))
    assert len(asked) <= -(-(hours // 24 + 2) // (USAGE_DAYS - 2))
    assert all(one.end - one.start <= USAGE_DAYS * DAY and one.end <= max(until, now) for one in asked)
    for first in range(since // DAY, (until - 1) // DAY + 1):
        assert any(one.start <= (first - 1) * DAY and one.end >= min((first + 2) * DAY, until) for one in asked)


def test_other_shapes_are_read_as_well() -> None:
    day = {"total_calls": 3, "voice_calls": "2", "chat_calls": 1.0}
    rows = [{"day": "2026-02-10T00:00:00Z", **day}, {"day": "2026-02-11T00:00:00Z", **day}]
    plain = summary_of({"total_calls": "6", "days": rows}, ASKED)
    assert plain.is_whole and plain.days is not None
    assert [(one.day, one.total, one.voice) for one in plain.days] == [(date(2026, 2, 10 + n), 3, 2) for n in (0, 1)]
    by_day = {"data": {"total_calls": 6, "daily": {"2026-02-10": day, "2026-02-11": day}}}
    assert summary_of(by_day, ASKED).days == plain.days
    assert summary_of({"total_calls": 0, "daily": []}, ASKED).days == ()
    assert summary_of({"voice_calls": 1, "chat_calls": 2}, ASKED).total.total == 3


def test_a_day_in_several_rows_counts_as_it_adds_up() -> None:
    rows = [{"date": "2026-02-10", "calls": 3}, {"date": "2026-02-10", "calls": 4}]
    apart, again = (summary_of({"total_calls": total, "daily": rows}, ASKED).days or () for total in (7, 4))
    assert ([day.total for day in apart], [day.total for day in again]) == ([7], [4])


@pytest.mark.parametrize("value", [-1, 1.5, "a few", True, [3], 1e300, "1e3", "٣"])
def test_what_is_no_count_is_not_believed(value: object) -> None:
    with pytest.raises(UnusableAnswerError, match=r"total_calls that is no (count|whole number)"):
        summary_of({"total_calls": value}, ASKED)


def test_a_day_at_the_end_of_an_answer_is_taken_from_the_one_that_holds_it() -> None:
    first, second = questions(SINCE, SINCE + 500 * DAY, SINCE + 600 * DAY)

    def answer(asked: Interval, inside: int) -> UsageSummary:
        numbers = range(asked.start // DAY, asked.end // DAY)
        counts = {number: 1 if number in (numbers[0], numbers[-1]) else inside for number in numbers}
        rows = [{"date": date_of(number).isoformat(), "total_calls": total} for number, total in counts.items()]
        return summary_of({"total_calls": sum(counts.values()), "daily": rows}, asked)

    found = merged([answer(first, 10), answer(second, 20)])
    inside = [found[date_of(number)].total for number in range(SINCE // DAY, SINCE // DAY + 500)]
    assert inside == [10] * (USAGE_DAYS - 2) + [20] * (500 - USAGE_DAYS + 2)


@pytest.mark.usefixtures("hasty")
async def test_a_failure_on_the_way_is_met_by_another_attempt() -> None:
    assert sum(day.total for day in await days_by(Behaviour(script=("500", "half-json", "ok")))) == len(ROWS)
