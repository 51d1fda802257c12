"""An export or a sync that also keeps recordings: whatever becomes of these, it says what it has read, and seals it."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from exporter.cli.query import describe_reading
from exporter.cli.report import describe_summary, describe_synced
from exporter.cli.runner import tell_summary
from exporter.errors import StoreError
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.jobs.sync import sync
from exporter.sandbox import TOKEN, Behaviour
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Selection
from exporter.store.local.store import LocalStore
from tests.jobs.test_recordings import World, world
from tests.toolkit.recordings import call, outcomes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

HASTY = RetryPolicy(known=Patience(attempts=5, seconds=0, throttled_seconds=1), base_seconds=0.001)


@pytest.fixture(autouse=True)
def hasty_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.run.recordings.POLICY", HASTY)


async def keep_too(source: World, by: str, token: str = TOKEN) -> Summary:
    """Returns the summary of an export, or of a sync, that also keeps recordings."""
    context, asked = source.context(token), Selection(recordings=True)
    if by == "export":
        return await export(source.root, asked, context)
    return (await sync(source.root, asked, context)).summary


def check_sealed(source: World, done: Summary, exit_status: int, *words: str) -> None:
    """Checks that the conversations are told of and sealed, and that a line says why recordings were not fetched."""
    assert (done.state, done.exit_status) == ("complete", exit_status)
    assert (source.root / "_SUCCESS").exists()
    told = tell_summary(done)
    assert (told.status, told.figures["rows"]) == (exit_status, done.rows)
    figures = told.figures["recordings"]
    (line,) = (line for line in told.lines if "ended early" in line)
    assert [surprise for surprise in told.surprises if "ended early" in surprise] == [line.strip()]
    for word in words:
        assert word in line
        assert word in figures["error"]
    assert figures["error_status"] == exit_status


@pytest.mark.parametrize("by", ["export", "sync"])
async def test_a_token_that_is_not_shown_recordings(by: str, tmp_path: Path) -> None:
    async with world(tmp_path, [call(number) for number in range(5)]) as source:
        done = await keep_too(source, by, TOKEN_NOSENSITIVE)
        check_sealed(source, done, 4, "not shown recording_details", "Run again with a token")
        assert (done.rows, source.media.count) == (5, 0)
        again = await keep_too(source, by)
        assert (again.exit_status, again.recordings and again.recordings.new_stored) == (0, 5)


@pytest.mark.parametrize("by", ["export", "sync"])
async def test_a_source_that_fails_once_all_is_sealed(by: str, tmp_path: Path) -> None:
    rows = [call(number) for number in range(5)]
    async with world(tmp_path, rows) as source:
        source.media.is_down = True
        await keep_too(source, by)
        source.media.is_down = False

        def revoke(request: Any) -> None:
            if (source.root / "_SUCCESS").exists() and "channel" in request.query.get("fields", ""):
                source.sandbox.behaviour = Behaviour(revoked_after=0)

        source.sandbox.on_request = revoke
        done = await keep_too(source, by)
        check_sealed(source, done, 4, "401")
        source.sandbox.on_request, source.sandbox.behaviour = None, Behaviour()
        assert (await keep_too(source, by)).exit_status == 0
        assert source.check(rows) == {"stored": 5}


@pytest.mark.parametrize("by", ["export", "sync"])
async def test_a_destination_that_takes_no_more_media(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [call(number) for number in range(30)]
    publish_media, published = LocalStore.publish_media, list[str]()

    async def fail_in_time(store: LocalStore, staged: Path, path: str) -> None:
        if len(published) == 12:
            raise StoreError("the disk is full. Make room, then run again")
        published.append(path)
        await publish_media(store, staged, path)

    async with world(tmp_path, rows) as source:
        with monkeypatch.context() as patching:
            patching.setattr(LocalStore, "publish_media", fail_in_time)
            done = await keep_too(source, by)
        check_sealed(source, done, 1, "the disk is full. Make room, then run again")
        assert done.recordings is not None
        kept = len(outcomes(source.root))
        assert (done.recordings.stored, 4 <= kept <= 12) == (kept, True)
        again = await keep_too(source, by)
        assert (again.exit_status, again.recordings and again.recordings.new_stored) == (0, 30 - kept)
        assert source.check(rows) == {"stored": 30}


@pytest.mark.parametrize("by", ["export", "sync"])
async def test_nobody_is_told_to_accept_what_was_refused(by: str, tmp_path: Path) -> None:
    async with world(tmp_path, [call(number) for number in range(5)]) as source:
        source.media.pinned["c1"] = "html"
        if by == "export":
            summary = await keep_too(source, by)
            lines = [*describe_summary(summary)]
        else:
            synced = await sync(source.root, Selection(recordings=True), source.context())
            summary, lines = synced.summary, [*describe_synced(synced)]
        assert (summary.exit_status, summary.own_status) == (3, 0)
        told = "\n".join(lines)
        assert "1 refused (type text/html)" in told
        assert "exporter accept" not in told
        queries = [line for line in describe_reading(summary) if "SELECT" in line]
        found = duckdb.execute(queries[-1]).fetchall()
        assert sum(rows[-1] for rows in found) == 5
        assert {rows[-2] for rows in found} == {"stored", "refused"}


async def test_without_a_recording_no_query_names_them(tmp_path: Path) -> None:
    async with world(tmp_path, [call(1, recording_details=None)]) as source:
        summary = await keep_too(source, "export")
        assert "recordings" not in "\n".join(describe_reading(summary)).replace(str(tmp_path), "")
