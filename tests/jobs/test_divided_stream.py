"""Windows that are read apart give each row once, whatever the server does, and the doubts of a whole stream."""

import asyncio
import dataclasses
from collections.abc import Iterable
from functools import partial
from itertools import pairwise

import msgspec
import pytest

from exporter import ExportSpec
from exporter.clock import wall_clock
from exporter.contract import DAY, SECOND, Instant
from exporter.coverage import Interval
from exporter.errors import AccessError, DoubtfulStreamError, UsageError
from exporter.jobs.divided_stream import StreamWindow, divide, window_stream
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import ORGANIZATION, TOKEN, TOKEN_NOSENSITIVE, Behaviour, Row, make_conversations, serve
from tests.end_to_end.export_directory import assert_same
from tests.end_to_end.records import SINCE, UNTIL, Record, conversation, records

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

ROWS = make_conversations(240, SINCE, UNTIL, density="bulk")


def spec_for(url: str, **options: object) -> ExportSpec:
    spec = ExportSpec(base_url=url, token=TOKEN, since="2024-01-01", until="2024-03-01", page_size=50, concurrency=4)
    return dataclasses.replace(spec, **options)  # type: ignore[arg-type]


async def divided(spec: ExportSpec, windows: int | None, slots: int | None = None) -> list[StreamWindow]:
    found = spec.resolve({})
    context = RunContext(found.settings, found.credentials, Quiet())
    return await divide(found.asked.within("UTC"), context, windows=windows, slots=slots)


async def read(spec: ExportSpec, windows: Iterable[StreamWindow]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    resolved = spec.resolve({})
    for window in windows:
        # As another process would have it.
        sent = msgspec.json.decode(msgspec.json.encode(window), type=StreamWindow)
        async for batch in window_stream(sent, resolved.settings, resolved.credentials):
            for record in batch.to_pylist():
                assert record["id"] not in found
                found[record["id"]] = record
    return found


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(precision="s", rounding="half-up", cursor="inclusive", page_cap=40),
        Behaviour(hides_token_created=True, equals="shuffled"),
        Behaviour(fault_rate=0.2, seed=4),
    ],
)
async def test_every_row_is_in_one_window(behaviour: Behaviour) -> None:
    async with serve(ROWS, behaviour) as server:
        spec = spec_for(server.url)
        windows = await divided(spec, 5)
        assert [window.window.end for window in windows] == sorted((w.window.end for w in windows), reverse=True)
        assert_same(await read(spec, windows), records(ROWS, behaviour))


async def test_windows_may_be_cut_right_beside_rows() -> None:
    behaviour = Behaviour(precision="s", rounding="half-up")
    async with serve(ROWS, behaviour) as server:
        spec = spec_for(server.url)
        (whole,) = await divided(spec, 1)
        middle = ROWS[120].created_at
        cuts = [SINCE, middle - SECOND, middle - 1, middle, middle + 1, middle + SECOND // 2, UNTIL]
        parts = [msgspec.structs.replace(whole, window=Interval(one, other)) for one, other in pairwise(cuts)]
        assert_same(await read(spec, parts), records(ROWS, behaviour))


async def test_no_window_asks_what_is_known() -> None:
    rows = make_conversations(600, SINCE, UNTIL, density="flat")
    async with serve(rows) as server:
        spec = spec_for(server.url, concurrency=1)
        windows = await divided(spec, None, slots=4)
        assert len(windows) == 4
        assert len(server.requests) < 8
        before = len(server.requests)
        await read(spec, windows)
        assert len(server.requests) - before <= 12 + 4 * 6


async def test_little_is_not_divided() -> None:
    async with serve([]) as server:
        assert len(await divided(spec_for(server.url), None, slots=8)) == 1


async def test_the_end_waits_for_the_clock_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("exporter.jobs.divided_stream.sleep", sleep)
    async with serve(ROWS) as server:
        now = wall_clock()
        spec = spec_for(server.url, until=None, lag=1)
        found = spec.resolve({})
        context = RunContext(found.settings, found.credentials, Quiet())
        asked = partial(msgspec.structs.replace, found.asked.within("UTC"))
        await divide(asked(until=now - 30 * SECOND), context, windows=1)
        await divide(asked(until=now + 30 * SECOND), context, windows=1)
        assert waited[0] == 0
        assert 25 < waited[1] < 60
        with pytest.raises(UsageError, match=r"until .* is still to come"):
            await divide(asked(until=now + DAY), context, windows=1)


@pytest.mark.parametrize("token", [TOKEN, TOKEN_NOSENSITIVE])
async def test_a_role_that_differs_from_that_of_the_others_is_a_doubt(token: str) -> None:
    async with serve(ROWS) as server:
        spec = spec_for(server.url, token=token)
        windows = await divided(spec, 3)
        assert len(await read(spec, windows)) == 240
        other = dataclasses.replace(spec, token=TOKEN if token == TOKEN_NOSENSITIVE else TOKEN_NOSENSITIVE)
        with pytest.raises(DoubtfulStreamError, match="rows came without sensitive fields"):
            await read(other, windows[:1])


async def test_rows_of_another_organization_than_in_other_windows_are_refused() -> None:
    def owned(organization: str) -> list[Row]:
        def row(number: int) -> Row:
            at: Instant = SINCE + number * DAY
            return conversation(at, at, f"c{number}", organization_id=organization)

        return [row(number) for number in range(30)]

    async with serve(owned(ORGANIZATION)) as server, serve(owned("org_other")) as another:
        windows = await divided(spec_for(server.url), 2)
        with pytest.raises(
            AccessError, match="the token that this worker has serves conversations of organization 'org_"
        ):
            await read(spec_for(another.url), windows)


async def test_a_doubt_is_that_of_its_window_alone() -> None:
    odd = Row(SINCE, raw='{"id":"odd","created_at":"2024-01-01T00:00:00Z","duration":1.5}')
    async with serve([*ROWS, odd]) as server:
        spec = spec_for(server.url)
        newest, *_, oldest = await divided(spec, 3)
        assert await read(spec, [newest])
        with pytest.raises(DoubtfulStreamError, match="1 row fit no column"):
            await read(spec, [oldest])


async def test_fields_that_the_list_leaves_out_are_brought_in_every_window() -> None:
    behaviour = Behaviour(list_omits=("summary", "conversation"))
    async with serve(ROWS[:60], behaviour) as server:
        spec = spec_for(server.url)
        windows = await divided(spec, 3)
        assert windows[0].hydrated == ("conversation", "summary")
        assert_same(await read(spec, windows), records(ROWS[:60]))


def test_it_needs_an_end() -> None:
    found = ExportSpec(token=TOKEN).resolve({})
    context = RunContext(found.settings, found.credentials, Quiet())
    with pytest.raises(UsageError, match="must be known"):
        asyncio.run(divide(found.asked, context))
