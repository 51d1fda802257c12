"""Tests merged parts: the rows are the same, in fewer files, and no reader is misled on the way."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from exporter.contract import DAY, HOUR
from exporter.coverage import Interval
from exporter.encode.batch import Encoder
from exporter.encode.tables import Tables
from exporter.errors import StoreError
from exporter.log.commits import CommitLog
from exporter.log.state import Author
from exporter.pipeline.committer import Committer
from exporter.pipeline.compaction import merge_small_parts
from exporter.pipeline.part_stage import PartStage
from exporter.progress import Quiet
from exporter.settings import Request
from exporter.store.base import Content
from exporter.store.local.store import LocalStore
from tests.fetch.walk.server_model import Behaviour, ServerModel, StoredRow
from tests.pipeline.harness import Destination, ModelSource, check_exact

T0 = 1_770_000_000_000_000 // DAY * DAY
RANGE = Interval(T0, T0 + 2 * DAY)
ROWS = [StoredRow(f"c{number}", T0 + number * HOUR // 2, T0, size=100) for number in range(96)]


async def exported(root: Path) -> Destination:
    """Makes an export with a file for nearly every page."""
    destination = Destination(root, RANGE, page_size=7, concurrency=3, target_part_bytes=1)
    await destination.run(ModelSource(ServerModel(ROWS, Behaviour())))
    await destination.load()
    assert len(destination.state.files) > 10
    return destination


async def merge(destination: Destination, store: LocalStore | None = None, run: str = "merging") -> None:
    store = store or LocalStore(destination.root)
    log = CommitLog(store, Author(run=run, host="host", pid=1))
    await log.load()
    stage = PartStage(store, Tables.of(Request()), run, target_part_bytes=1 << 28, row_group_bytes=1 << 24)
    committer = Committer(store, log, stage.tables.schemas, Quiet())
    await committer.sweep()
    await merge_small_parts(log, stage, committer, Quiet(), least_bytes=1 << 24)
    await committer.write_manifest()
    await destination.load()


def names(destination: Destination) -> set[str]:
    paths = destination.root.glob("conversations/**/*.parquet")
    return {path.relative_to(destination.root).as_posix() for path in paths}


@pytest.mark.anyio
async def test_each_partition_becomes_one_file_of_the_same_rows(tmp_path: Path) -> None:
    destination = await exported(tmp_path)
    before, counters = sorted(destination.rows()), destination.state.counters
    await merge(destination)
    assert len(destination.state.files) == 2
    assert names(destination) == set(destination.state.files)
    assert (tmp_path / "_SUCCESS").exists()
    check_exact(destination, ServerModel(ROWS, Behaviour()))
    assert sorted(destination.rows()) == before
    assert destination.state.counters == counters
    # The second time, there is nothing to do.
    files = destination.state.files
    await merge(destination)
    assert destination.state.files == files


@pytest.mark.anyio
async def test_what_files_say_of_their_rows_is_added_up(tmp_path: Path) -> None:
    destination = await exported(tmp_path)
    absent = sum(file.absent["agent"] for file in destination.state.files.values())
    withheld = sum(file.withheld_rows for file in destination.state.files.values())
    await merge(destination)
    assert sum(file.absent["agent"] for file in destination.state.files.values()) == absent == 96
    assert sum(file.withheld_rows for file in destination.state.files.values()) == withheld == 96


class StoppingStore(LocalStore):
    """Is a store that fails at one step, and goes on failing."""

    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise StoreError("the disk is full")

    async def create(self, path: str, data: bytes) -> bool:
        self._step()
        return await super().create(path, data)

    async def replace(self, path: str, data: Content) -> None:
        self._step()
        await super().replace(path, data)

    async def publish(self, staged: Path, path: str) -> None:
        self._step()
        await super().publish(staged, path)

    async def delete(self, *paths: str) -> None:
        for path in paths:
            self._step()
            await super().delete(path)


@pytest.mark.anyio
async def test_stopped_at_any_step_it_is_exact_and_never_said_to_be_what_it_is_not(tmp_path: Path) -> None:
    stopped = 0
    for steps in range(0, 60, 3):
        destination = await exported(tmp_path / str(steps))
        rows = sorted(destination.rows())
        try:
            await merge(destination, StoppingStore(destination.root, steps), run="stopped")
        except StoreError:
            stopped += 1
        await destination.load()
        assert sorted(destination.rows()) == rows
        if (destination.root / "_SUCCESS").exists():
            assert names(destination) == set(destination.state.files)
        await merge(destination, run="again")
        assert sorted(destination.rows()) == rows
        assert names(destination) == set(destination.state.files)
        assert len(destination.state.files) == 2
    assert 5 < stopped < 20


@pytest.mark.anyio
async def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    destination = await exported(tmp_path)
    victim = sorted(destination.state.files)[0]
    (tmp_path / victim).write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match=f"{victim}: has 16 bytes"):
        await merge(destination)


@pytest.mark.anyio
async def test_the_merged_file_is_as_good_as_any(tmp_path: Path) -> None:
    destination = await exported(tmp_path)
    await merge(destination)
    for path, file in destination.state.files.items():
        with pq.ParquetFile(tmp_path / path) as part:
            assert part.schema_arrow.equals(Encoder(None).schema)
            assert part.metadata.row_group(0).sorting_columns
        assert (file.window.start, file.window.end) == (file.created_at_min, file.window.start + DAY)
