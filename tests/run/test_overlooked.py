"""A status that is found to be hidden only later is read again for what was covered before."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from exporter.contract import HIDDEN_STATUS, HOUR, MINUTE, SECOND, format_instant
from exporter.coverage import Coverage, Interval
from exporter.errors import StoreError
from exporter.jobs import export_steps, sync_steps
from exporter.jobs.export import export
from exporter.jobs.sync import sync
from exporter.log.commits import load_state
from exporter.log.fold import fold
from exporter.log.state import State
from exporter.model import Change
from exporter.pipeline import probe
from exporter.pipeline import reader as reader_module
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour
from exporter.settings import Credentials, Selection
from exporter.store.local.store import LocalStore
from tests.jobs.moving import Source, check, moving_source, settings_for
from tests.log.test_state import begin, commit

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

Job: TypeAlias = Callable[[Path, Selection, RunContext], Awaitable[object]]
ROWS = 60
#: Every fifth is of the hidden status.
HIDDEN = ROWS // 5


async def nothing(*_: object) -> bool:
    return False


async def run(job: Job, path: Path, source: Source, *, is_wider: bool = False) -> None:
    source.now += 2 * MINUTE
    asked = Selection(until=source.now - MINUTE) if is_wider else Selection()
    await job(path, asked, RunContext(settings_for(source, page_size=20), Credentials(TOKEN), Quiet()))


@asynccontextmanager
async def overlooking_export(path: Path) -> AsyncIterator[Source]:
    """Yields a source that hides a status, with an export at `path` of a run that did not find that out."""
    async with moving_source(5, Behaviour(hides_token_created=True)) as source:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader_module, "wall_clock", lambda: source.now)
            for number in range(ROWS):
                source.now += HOUR
                source.insert(source.now - SECOND, status="completed" if number % 5 else HIDDEN_STATUS)
            with pytest.MonkeyPatch.context() as blind:
                blind.setattr(probe, "is_hidden", nothing)
                await run(export, path, source)
            assert len(await rows_of(path)) == ROWS - HIDDEN
            source.now += HOUR
            source.sandbox.requests.clear()
            yield source


async def state_of(path: Path) -> State:
    return await load_state(LocalStore(path))


async def rows_of(path: Path) -> range:
    return range((await state_of(path)).totals.rows)


@pytest.mark.parametrize("job", [export, sync])
async def test_what_was_overlooked_is_read_by_the_run_that_finds_out(tmp_path: Path, job: Job) -> None:
    async with overlooking_export(tmp_path) as source:
        await run(job, tmp_path, source, is_wider=job is export)
        check(tmp_path, source)
        # Only what is new is read of the other list.
        queries = [one.query for one in source.sandbox.requests]
        whole = [query for query in queries if not {"fields", "status", "updated_after"} & query.keys()]
        assert all(query["created_after"] > format_instant(source.now - 5 * HOUR) for query in whole)
        state = await state_of(tmp_path)
        assert (state.hidden_statuses, state.overlooks_hidden) == ((HIDDEN_STATUS,), False)


@pytest.mark.parametrize("job", [export, sync])
async def test_what_an_earlier_exporter_has_overlooked_is_read_by_the_next_run(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with overlooking_export(tmp_path) as source:
        with monkeypatch.context() as earlier:
            for steps in (export_steps, sync_steps):
                earlier.setattr(steps, "read_overlooked", nothing)
            await run(sync, tmp_path, source)
        assert (await state_of(tmp_path)).overlooks_hidden
        await run(job, tmp_path, source)
        check(tmp_path, source)
        assert not (await state_of(tmp_path)).overlooks_hidden
        source.sandbox.requests.clear()
        await run(export, tmp_path, source)
        assert not source.sandbox.requests


async def test_a_run_that_fails_leaves_what_was_overlooked_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreError("full")

    async with overlooking_export(tmp_path) as source:
        with monkeypatch.context() as failing:
            failing.setattr("exporter.run.overlooked.merge_spool", fail)
            with pytest.raises(StoreError):
                await run(sync, tmp_path, source)
        await run(sync, tmp_path, source)
        check(tmp_path, source)


def test_a_log_tells_what_was_overlooked() -> None:
    hidden = partial(Change, hidden_status=HIDDEN_STATUS)
    first = [begin(), commit(2, Change(covers=(Interval(0, 5),)))]
    steps = [
        (hidden(covers=(Interval(5, 6),)), True),
        (hidden(covers=(Interval(6, 7),)), True),
        (hidden(settles=True), True),
        (hidden(shows_hidden=True), False),
        (hidden(covers=(Interval(7, 8),)), False),
    ]
    for number, (change, overlooks) in enumerate(steps, 3):
        first.append(commit(number, change))
        assert fold(first).overlooks_hidden is overlooks
    assert not fold([begin(), commit(2, hidden(covers=(Interval(0, 5),)))]).overlooks_hidden
    taken = [*first[:3], commit(4, Change(uncovers=Coverage([Interval(0, 6)]).intervals))]
    assert not fold(taken).overlooks_hidden
