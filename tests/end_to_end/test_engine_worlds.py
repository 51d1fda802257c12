"""Whatever the server turns out to be, an export in many tasks, each of which ends at its first pages, is exact."""

from pathlib import Path

import pytest

from exporter.sandbox import Behaviour
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import records
from tests.end_to_end.test_servers import FROM, ONE_SWITCH, TO, arguments, dense_rows
from tests.toolkit.sizes import some_of
from tests.toolkit.task_engines import ThreadEngine, distributed

pytestmark = pytest.mark.usefixtures("hasty")

WORLDS = {
    **ONE_SWITCH,
    "filters-late": Behaviour(filters="after-limit"),
    "compares-days": Behaviour(compares="day"),
    "cuts-to-milliseconds": Behaviour(reads=("cut-ms",)),
    "cursor-in-a-zone": Behaviour(reads=("cursor:+3h",)),
    "excludes-bounds": Behaviour(excludes=("created_before", "created_after")),
    "late-inclusive-seconds": Behaviour(precision="s", rounding="half-up", cursor="inclusive", equals="shuffled"),
}


@pytest.mark.parametrize(
    "name", some_of(WORLDS, "late-inclusive-seconds", "hides-token-created", "cursor-in-a-zone", "page-bytes")
)
def test_tasks_that_end_early_read_everything_once(
    name: str, serving: Serving, command: Command, tmp_path: Path
) -> None:
    rows, behaviour, engine = dense_rows(1)[::2], WORLDS[name], ThreadEngine(3)
    with distributed(engine, pages=1.0, budget_seconds=0.0):
        done = command(*arguments(tmp_path / "out", 30, 3), server=serving(rows, behaviour))
    assert done.status == 0, done.err
    assert len(engine.tasks) > 4
    ExportDirectory(tmp_path / "out").check(records(rows, behaviour, since=FROM, until=TO))
