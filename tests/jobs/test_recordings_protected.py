"""Recordings are found by what the API serves, whatever a policy leaves of it in the stored rows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from msgspec.structs import replace as replaced

from exporter.contract import DAY
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.jobs.export import export
from exporter.jobs.recordings import recordings
from exporter.jobs.sync import sync
from exporter.privacy import Policy, Rule
from exporter.run.context import RunContext
from exporter.settings import Selection
from tests.jobs.protected import KEYS, policy
from tests.jobs.test_recordings import World, world
from tests.toolkit.recordings import call

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

HASTY = RetryPolicy(known=Patience(attempts=5, seconds=0, throttled_seconds=1), base_seconds=0.001)
URL = "recording_details.recording_url"


@pytest.fixture(autouse=True)
def hasty_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("recordings", "recordings_tap"):
        monkeypatch.setattr(f"exporter.run.{module}.POLICY", HASTY)


def context(source: World) -> RunContext:
    from msgspec.structs import replace

    return replace(source.context(), keys=KEYS)


def details(root: Path) -> list[Any]:
    query = f"select * from read_parquet('{root}/conversations/**/*.parquet')"
    found = duckdb.connect().execute(query)
    names = [name for name, *_ in found.description or ()]
    if "recording_details" not in names:
        return []
    return [row[names.index("recording_details")] for row in found.fetchall()]


@pytest.mark.parametrize(
    ("rules", "holds"),
    [
        ({URL: Rule(action="no-query")}, lambda text: "?" not in text and "recording_url" in text),
        ({URL: Rule(action="drop")}, lambda text: "recording_url" not in text),
        ({"recording_details": Rule(action="drop")}, None),
    ],
)
async def test_all_are_kept_and_none_is_fetched_twice(
    rules: dict[str, Rule], holds: Callable[[str], bool] | None, tmp_path: Path
) -> None:
    rows = [call(number, age=(1 + number % 4) * DAY) for number in range(12)]
    asked = Selection(recordings=True, policy=policy(rules))
    async with world(tmp_path, rows) as source:
        done = await export(source.root, asked, context(source))
        assert (done.exit_status, done.recordings and done.recordings.new_stored) == (0, 12)
        assert source.check(rows) == {"stored": 12}
        stored = details(source.root)
        assert bool(stored) == (holds is not None)
        assert all(holds(text) for text in stored if holds is not None)
        again = await sync(source.root, replaced(asked, policy=None), context(source))
        assert (again.updated, again.exit_status) == (0, 0)
        assert {*source.media.attempts.values()} == {1}


@pytest.mark.parametrize("rules", [{URL: Rule(action="drop")}, {URL: Rule(action="no-query")}])
async def test_a_run_of_its_own_finds_them_too(rules: dict[str, Rule], tmp_path: Path) -> None:
    rows = [call(number, age=(1 + number % 4) * DAY) for number in range(12)]
    protection: Policy = policy(rules)
    async with world(tmp_path, rows) as source:
        await export(source.root, Selection(policy=protection), context(source))
        job = partial(recordings, retried=("failed", "expired"))
        await job(source.root, Selection(), context(source))
        assert source.check(rows) == {"stored": 12}
        assert {*source.media.attempts.values()} == {1}
