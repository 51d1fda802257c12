"""A partition to which runs go on adding is merged sparingly."""

from pathlib import Path
from typing import Any

import pytest

from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.encode.tables import Tables
from exporter.log.commits import CommitLog
from exporter.log.state import Author
from exporter.pipeline.committer import Committer
from exporter.pipeline.part_stage import PartStage
from exporter.progress import Quiet
from exporter.run import finish
from exporter.run.finish import least_part_bytes, seal
from exporter.settings import PartitionBy, Request
from exporter.store.local.store import LocalStore

MIDNIGHT = 1_770_000_000_000_000 // DAY * DAY
MIB = 1024 * 1024


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("by", "end", "goes_on", "growing"),
    [
        ("day", MIDNIGHT, True, {"created_date": "2026-02-02"}),
        ("day", MIDNIGHT - 1, True, {"created_date": "2026-02-01"}),
        ("month", MIDNIGHT, True, {"created_month": "2026-02"}),
        ("none", MIDNIGHT, True, {}),
        ("day", MIDNIGHT, False, None),
    ],
)
async def test_it_is_the_one_in_which_the_range_ends(
    by: PartitionBy,
    end: int,
    goes_on: bool,
    growing: dict[str, str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    async def merge(*_: object, growing: object, **__: object) -> None:
        seen.append(growing)

    monkeypatch.setattr(finish, "merge_small_parts", merge)
    store = LocalStore(tmp_path)
    await store.prepare()
    log = CommitLog(store, Author(run="r1", host="host", pid=1))
    request = Request(partition_by=by)
    await log.append(committed_at=0, kind="begin", request=request, range=Interval(0, end))
    stage = PartStage(store, Tables.of(request), "r1", target_part_bytes=MIB, row_group_bytes=MIB)
    committer = Committer(store, log, stage.tables.schemas, Quiet())
    await seal(log, stage, committer, Quiet(), least_bytes=1, goes_on=goes_on)
    assert seen == [growing]
    assert (tmp_path / "_manifest.json").exists()


def test_the_least_size_fits_the_target() -> None:
    assert least_part_bytes(256 * MIB) == 16 * MIB
    assert least_part_bytes(10 * MIB) == 5 * MIB
    assert least_part_bytes(1) == 0
