"""Whatever the server turns out to be, an export in many tasks, each of which ends at its first pages, is exact."""

import random
from pathlib import Path
from typing import Literal

import pytest

from exporter.contract import SECOND
from exporter.sandbox import Behaviour, Row
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, conversation, records
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


def close_rows(seed: int) -> list[Row]:
    """Returns rows so close to one another that many share a second, and some a millisecond."""
    rng, instant, rows = random.Random(seed), SINCE, list[Row]()
    for number in range(300):
        instant += round(rng.choice((0, 0.001, 0.1, 0.3, 0.5, 0.9)) * rng.random() * SECOND)
        rows.append(conversation(instant, instant + SECOND, f"row-{number:03d}"))
    return rows


@pytest.mark.parametrize("slots", some_of([1, 3], 1))
@pytest.mark.parametrize(
    ("before", "after"), some_of([("s", "us"), ("ms", "s"), ("s", "ms"), ("us", "s")], ("s", "us"))
)
def test_no_row_is_lost_or_doubled_where_times_become_finer_or_coarser_while_they_are_read(
    before: Literal["s", "ms", "us"], after: str, slots: int, serving: Serving, command: Command, tmp_path: Path
) -> None:
    """A row that is served on one side of a cut between tasks, and later on the other, may have been on neither."""
    rows = close_rows(9)
    behaviour = Behaviour(
        precision=before, rounding="half-even", compares="served", changes_after=41, changes=(f"precision={after}",)
    )
    arguments = ("export", tmp_path / "out", "--since", "2023-12-31", "--until", "2024-01-02", "--page-size", "20")
    with distributed(ThreadEngine(slots), pages=1.0, budget_seconds=0.0):
        done = command(*arguments, server=serving(rows, behaviour))
    assert done.status == 0, done.err
    exported = ExportDirectory(tmp_path / "out")
    assert exported.records().keys() == {row.facts()["id"] for row in rows}
    assert exported.state == "complete"


def test_what_one_run_misses_where_times_become_finer_while_it_reads_an_audit_finds(
    serving: Serving, command: Command, tmp_path: Path
) -> None:
    """This is a limit that the manual states: if nothing is missed any more, it should say so."""
    rows = close_rows(171)
    behaviour = Behaviour(precision="s", rounding="cut", compares="served", changes_after=36, changes=("precision=ms",))
    server, range_ = serving(rows, behaviour), ("--since", "2023-12-31", "--until", "2024-01-02")
    few = ("--page-size", "20", "--concurrency", "1")
    assert command("export", tmp_path / "out", *range_, *few, server=server).status == 0
    exported = ExportDirectory(tmp_path / "out")
    missed = {row.facts()["id"] for row in rows} - exported.records().keys()
    assert missed
    assert command("audit", tmp_path / "out", server=server).status == 6
    assert command("audit", tmp_path / "out", "--repair", server=server).status == 0
    assert {row.facts()["id"] for row in rows} == ExportDirectory(tmp_path / "out").records().keys()
