"""A doubt that was accepted ends with 0, and one that has grown with 3, whichever command meets it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

import exporter
from exporter import ExportSpec
from exporter.contract import DAY, HOUR, Instant, to_datetime
from exporter.jobs.status import judge
from exporter.jobs.summary import summarize
from exporter.model import Change, Counters
from exporter.sandbox import TOKEN, Behaviour
from tests.jobs.moving import T0, Source, fill, moving_source
from tests.log.test_acceptance import accepted, changed, doubted, time

pytestmark = pytest.mark.anyio

CAPPED: Final = Behaviour(page_cap=9)
AT: Final[Instant] = T0 + 8 * DAY
GROUP: Final = ("completed", "failed", "cancelled") * 4


def insert_group(source: Source, at: Instant, statuses: tuple[str, ...] = GROUP) -> None:
    """Inserts rows with one `created_at` and one `updated_at`, which no page holds and no bound tells apart."""
    for status in statuses:
        source.insert(at, status=status)


def spec_of(root: Path, source: Source, **options: Any) -> ExportSpec:
    known = {"page_size": 7, "concurrency": 3, "trust_clock": "server", "token": TOKEN}
    return ExportSpec(destination=root, base_url=source.sandbox.url, **{**known, **options})


async def run_audit(root: Path, source: Source) -> int:
    return (await exporter.audit(spec_of(root, source))).exit_status


async def run_reread(root: Path, source: Source) -> int:
    return (await exporter.reread(spec_of(root, source))).exit_status


async def run_sync(root: Path, source: Source) -> int:
    source.now += HOUR
    return (await exporter.sync(spec_of(root, source))).exit_status


async def run_export(root: Path, source: Source) -> int:
    source.now += HOUR
    return (await exporter.export(spec_of(root, source, until=to_datetime(source.now - DAY // 2)))).exit_status


async def run_verify(root: Path, _: Source) -> int:
    return (await exporter.verify(root)).exit_status


async def check_status(root: Path, _: Source) -> int:
    return judge(await exporter.status(root, check=True)).exit_status


async def would_accept(root: Path, _: Source) -> int:
    return 3 if (await exporter.accept(root, dry_run=True)).number else 0


COMMANDS: Final[tuple[Callable[[Path, Source], Awaitable[int]], ...]] = (
    run_reread,
    run_audit,
    run_sync,
    run_export,
    run_verify,
    check_status,
    would_accept,
)


def grow_by_rows(source: Source) -> None:
    insert_group(source, AT, GROUP[:2])


def grow_by_time(source: Source) -> None:
    insert_group(source, AT + HOUR)


async def found_by_each(root: Path, source: Source) -> dict[str, int]:
    return {run.__name__: await run(root, source) for run in COMMANDS}


@pytest.mark.parametrize("grow", [grow_by_rows, grow_by_time])
async def test_it_is_known_to_every_command_or_to_none(grow: Callable[[Source], None], tmp_path: Path) -> None:
    async with moving_source(4, CAPPED) as source:
        fill(source, 30)
        insert_group(source, AT)
        assert await run_sync(tmp_path, source) == 3
        await exporter.accept(tmp_path)
        known = await found_by_each(tmp_path, source)
        assert set(known.values()) == {0}, known
        grow(source)
        # Then no row is missing, and the audit alone has looked at the whole time.
        await run_sync(tmp_path, source)
        assert await run_audit(tmp_path, source) == 3
        grown = await found_by_each(tmp_path, source)
        assert set(grown.values()) == {3}, grown


def test_a_doubt_that_new_ones_touch_on_both_sides_is_counted_as_accepted(tmp_path: Path) -> None:
    state = changed(accepted(doubted(time(6, since=5))), Change(unproven=(time(8, since=7), time(4, since=3))))
    summary = summarize(tmp_path, state, state, Counters())
    assert (summary.unproven, summary.accepted, summary.new_doubts, summary.exit_status) == (1, 1, 2, 3)
