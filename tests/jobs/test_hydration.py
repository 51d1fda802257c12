"""Fields that the list leaves out are completed by id, each row once, at the cost of the rows that need it."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from exporter.contract import DAY
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Row, Sandbox, make_conversations, serve
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.export_directory import ExportDirectory, assert_same
from tests.end_to_end.records import records
from tests.jobs.made import SINCE, UNTIL
from tests.toolkit.sizes import size_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

ROWS = size_of(240, 3000)
OMITS = Behaviour(list_omits=("conversation", "recording_details"))
RANGE = Selection(since=SINCE, until=UNTIL)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(make_conversations(ROWS, SINCE, UNTIL))


def context(server: Sandbox, token: str = TOKEN, **settings: object) -> RunContext:
    known = {"concurrency": 4, "page_size": 50, "target_part_bytes": 60_000}
    return RunContext(
        RunSettings(base_url=server.url, **{**known, **settings}),  # type: ignore[arg-type]
        Credentials(token),
        Quiet(),
    )


async def run(root: Path, server: Sandbox, asked: Selection = RANGE, **settings: object) -> Summary:
    return await export(root, asked, context(server, **settings))


def by_id(server: Sandbox) -> list[str]:
    """Returns the ids that were asked for, in their order."""
    return [one.path.rpartition("/")[2] for one in server.requests if not one.path.endswith("/conversations")]


def assert_whole(root: Path, rows: Iterable[Row]) -> None:
    exported = ExportDirectory(root)
    exported.check_sound()
    assert_same(exported.records(), records(rows, Behaviour()))


async def test_every_row_is_completed_once(tmp_path: Path, rows: list[Row]) -> None:
    async with serve(rows, OMITS) as server:
        await run(tmp_path, server)
        asked = by_id(server)
    assert_whole(tmp_path, rows)
    manifest = ExportDirectory(tmp_path).manifest
    assert manifest["hydrated"] == {
        "fields": ["conversation", "recording_details"],
        "rows": ROWS,
        "gone": 0,
        "lacking": 0,
    }
    # At most two more told that it is worth it.
    assert set(asked) == {row.content()["id"] for row in rows}
    assert ROWS <= len(asked) <= ROWS + 2
