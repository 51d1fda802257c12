"""Tests how many requests an export takes where its newest conversations are far denser than the others."""

from pathlib import Path

import pytest

from exporter.contract import DAY, MINUTE, SECOND
from exporter.jobs.export import export
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection

T0 = 1_770_000_000 * SECOND


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("filters", "most"),
    [
        ({}, 100),
        ({"channel": "telephone"}, 150),
        ({"status": ("completed", "failed")}, 400),
    ],
)
async def test_a_filter_costs_no_search_of_each_window_below_the_data(
    tmp_path: Path, filters: dict[str, str | tuple[str, ...]], most: int
) -> None:
    """The first page makes the rest seem dense, so windows are given away where there is nothing."""
    rows = make_conversations(1500, T0 - 30 * DAY, T0 - 2 * MINUTE, transcripts=False)
    rows += make_conversations(350, T0 - 2 * MINUTE, T0, seed=7, transcripts=False)
    async with serve(rows) as server:
        context = RunContext(RunSettings(base_url=server.url, page_size=250), Credentials(TOKEN), Quiet())
        summary = await export(tmp_path / "export", Selection(filters=filters, until=T0), context)
        assert summary.state == "complete"
        assert len(server.requests) <= most
