"""A sync leaves what the source has, whatever has happened there since the last one, and reads little else."""

from pathlib import Path

import pytest

from tests.jobs.moving import check, moving_source, run_sync

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(12))
async def test_many_syncs_of_a_moving_source(tmp_path: Path, seed: int) -> None:
    async with moving_source(seed) as source:
        for _night in range(8):
            for _ in range(source.chance.choice((0, 1, 10, 60))):
                source.move()
            await run_sync(tmp_path, source)
            check(tmp_path, source)
