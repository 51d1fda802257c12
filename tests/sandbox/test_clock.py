from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from exporter.contract import SECOND, parse_timestamp
from exporter.sandbox import Behaviour, Row, serve

NOW = parse_timestamp("2026-02-10T05:00:00Z")


async def seconds_said(get: Any, behaviour: Behaviour, count: int = 4) -> list[int | None]:
    """Returns what `Date` says in answers that are a minute apart, in seconds after the first of them."""
    now = NOW
    said: list[int | None] = []
    async with serve([Row(NOW)], behaviour, clock=lambda: now) as sandbox:
        for _ in range(count):
            date = (await get(sandbox)).headers.get("Date")
            said.append(None if date is None else round(parsedate_to_datetime(date).timestamp() - NOW / SECOND))
            now += 60 * SECOND
    return said


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour(), [0, 60, 120, 180]),
        (Behaviour(date_ahead=10_800), [10_800, 10_860, 10_920, 10_980]),
        (Behaviour(date_ahead=-5), [-5, 55, 115, 175]),
        (Behaviour(date="first", date_ahead=10_800), [10_800, 60, 120, 180]),
        (Behaviour(date="frozen"), [0, 0, 0, 0]),
        (Behaviour(date="frozen", date_ahead=7), [7, 7, 7, 7]),
        (Behaviour(date="absent"), [None] * 4),
        (Behaviour(changes_after=1, changes=("date=absent",)), [0, None, None, None]),
    ],
)
async def test_what_the_header_says(get: Any, behaviour: Behaviour, said: list[int | None]) -> None:
    assert await seconds_said(get, behaviour) == said


@pytest.mark.anyio
async def test_a_clock_that_jumps_is_at_times_right_and_always_alike(get: Any) -> None:
    behaviour = Behaviour(date="jumping", date_ahead=10_800, seed=1)
    said = await seconds_said(get, behaviour, 20)
    ahead = [said[n] == 60 * n + 10_800 for n in range(20)]
    assert [said[n] == 60 * n for n in range(20)] == [not is_ahead for is_ahead in ahead]
    assert {True, False} == set(ahead)
    assert await seconds_said(get, behaviour, 20) == said


@pytest.mark.anyio
async def test_a_malformed_date_cannot_be_read(get: Any) -> None:
    async with serve([Row(NOW)], Behaviour(date="malformed")) as sandbox:
        with pytest.raises(ValueError, match=r"day|hour"):
            parsedate_to_datetime((await get(sandbox)).headers["Date"])
