"""A task reads its windows, stages exactly their rows, and says what it has met; it publishes nothing."""

from pathlib import Path

import pytest

from exporter.contract import BEGINNING, DAY, SECOND
from exporter.coverage import Coverage, Interval
from exporter.sandbox import TOKEN, make_conversations, serve
from tests.toolkit.shares import outcome_of, prepare, share_of, staged_ids

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

UNTIL = 1_770_000_000 * SECOND
ROWS = make_conversations(3000, UNTIL - 3 * DAY, UNTIL, transcripts=False)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYREACH_TOKEN", TOKEN)


def ids_in(*windows: Interval) -> list[str]:
    inside = [row for row in ROWS if any(window.start <= row.created_at < window.end for window in windows)]
    return sorted(str(row.facts()["id"]) for row in inside)


async def test_it_stages_the_rows_of_its_windows_and_no_others(tmp_path: Path) -> None:
    windows = Interval(BEGINNING, ROWS[-500].created_at), Interval(ROWS[1500].created_at, ROWS[300].created_at + 1)
    await prepare(tmp_path)
    async with serve(ROWS) as sandbox:
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, *windows, now=UNTIL))
    assert outcome.failure is None
    assert outcome.change is not None
    assert Coverage(outcome.change.covers) == Coverage(windows)
    assert staged_ids(tmp_path, outcome) == ids_in(*windows)
    assert outcome.rows >= len(ids_in(*windows))
    assert {path.parent.name for path in tmp_path.rglob("*.partial")} == {"staging"}
    assert not list(tmp_path.rglob("*.parquet"))
