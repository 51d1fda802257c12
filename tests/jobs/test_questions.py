"""Counts the questions of runs that have little to read, by what the server was asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.contract import DAY, HOUR, MINUTE, SECOND
from exporter.errors import ContradictionError
from exporter.fetch.walk.descent import first_below
from exporter.fetch.walk.rows import Outline, outline
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.log.commits import load_state
from exporter.model import Page
from exporter.pipeline import probe
from exporter.pipeline import reader as reader_module
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour
from exporter.settings import Credentials, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory
from tests.jobs.moving import Source, check, moving_source, settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]


@asynccontextmanager
async def synced_source(path: Path, rows: int = 300) -> AsyncIterator[Source]:
    """Yields a source with an export at `path` that has all of it, and whose clock this machine has as well."""
    async with moving_source(5) as source:
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr(reader_module, "wall_clock", lambda: source.now)
            await fill(path, source, rows)
            yield source


async def fill(path: Path, source: Source, rows: int) -> None:
    for number in range(rows):
        source.now += HOUR
        source.insert(source.now - SECOND, status="token_created" if number == rows - 60 else "completed")
    await run(path, source)
    source.sandbox.requests.clear()


async def run(path: Path, source: Source) -> SyncResult:
    source.now += 2 * MINUTE
    settings = settings_for(source, page_size=1000)
    return await sync(path, Selection(), RunContext(settings, Credentials(TOKEN), Quiet()))


def change(source: Source, rows: int) -> None:
    for number in range(rows):
        source.now += MINUTE
        source.update(f"c{number * 37 + 11}", summary=f"new {number}")


async def test_a_sync_that_finds_nothing_asks_three_questions(tmp_path: Path) -> None:
    async with synced_source(tmp_path) as source:
        for night in range(1, 4):
            source.now += DAY
            synced = await run(tmp_path, source)
            assert len(source.sandbox.requests) == 3 * night
            assert (synced.inserted, synced.updated, synced.rewritten, synced.summary.state) == (0, 0, 0, "complete")
            check(tmp_path, source)


async def test_a_sync_of_a_few_changed_rows_reads_them_by_one_page(tmp_path: Path) -> None:
    async with synced_source(tmp_path) as source:
        source.now += DAY
        change(source, 5)
        synced = await run(tmp_path, source)
        assert len(source.sandbox.requests) == 4
        assert (synced.updated, synced.unchanged) == (5, 0)
        check(tmp_path, source)


async def test_a_sync_of_a_few_new_rows_asks_few_questions(tmp_path: Path) -> None:
    async with synced_source(tmp_path) as source:
        source.now += DAY
        for number in range(5):
            source.insert(source.now - number * HOUR, status="completed")
        synced = await run(tmp_path, source)
        assert len(source.sandbox.requests) <= 12
        assert synced.inserted == 5
        check(tmp_path, source)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(reads=("updated_after:+3h",)),
        Behaviour(reads=("created_before:-1h", "cursor:-1h")),
        Behaviour(page_cap=12),
        Behaviour(ignores=("updated_after",)),
        Behaviour(hides_token_created=True),
    ],
    ids=str,
)
async def test_where_lists_of_ids_prove_nothing_what_has_changed_is_found_all_the_same(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    async with synced_source(tmp_path) as source:
        source.now += DAY
        change(source, 5)
        source.sandbox.behaviour = behaviour
        assert (await run(tmp_path, source)).updated == 5
        check(tmp_path, source)


async def test_a_page_that_does_not_begin_with_the_newest_row_shows_no_window_to_be_empty(tmp_path: Path) -> None:
    async with synced_source(tmp_path) as source:
        source.now += DAY
        source.insert(source.now - HOUR)
        source.sandbox.behaviour = Behaviour(order="oldest")
        with pytest.raises(ContradictionError):
            await run(tmp_path, source)
        source.sandbox.behaviour = Behaviour()
        assert (await run(tmp_path, source)).inserted == 1
        check(tmp_path, source)


async def test_one_row_a_page_is_not_taken_for_the_only_row_where_others_are_stored(tmp_path: Path) -> None:
    """Bounds are read hours off, so that the row below a new one comes as little as the others beside it."""
    async with synced_source(tmp_path, rows=3) as source:
        source.now += DAY
        for number in range(3):
            source.insert(source.now - HOUR + number)
        source.sandbox.behaviour = Behaviour(reads=("+8h",), page_cap=1)
        await run(tmp_path, source)
        doubts = [doubt.interval for doubt in (await load_state(LocalStore(tmp_path))).unproven]
        stored = ExportDirectory(tmp_path).records()
        for identity, row in source.rows.items():
            assert identity in stored or any(row.created_at in doubt for doubt in doubts)


async def test_a_page_without_the_newest_stored_row_shows_no_window_to_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_midnight(page: Page[Any]) -> Page[Outline]:
        found = outline(page)
        return replace(found, rows=found.rows[first_below(found.rows.created_at, source.now // DAY * DAY) :])

    async with synced_source(tmp_path) as source:
        # A list without bounds that lags behind those with bounds, as from another database.
        monkeypatch.setattr(probe, "outline", until_midnight)
        for _ in range(2):
            source.now += HOUR
            source.insert(source.now, status="completed")
            assert (await run(tmp_path, source)).inserted == 1
        check(tmp_path, source)


async def test_clocks_that_differ_by_seconds_cost_no_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with synced_source(tmp_path) as source:
        source.now += DAY
        asked = count()
        with monkeypatch.context() as clock:
            # Of several answers, a later one than the first may tell the time.
            clock.setattr(reader_module, "wall_clock", lambda: source.now - 3 * SECOND + next(asked) * SECOND // 5)
            await run(tmp_path, source)
        assert len(source.sandbox.requests) == 3
        check(tmp_path, source)
