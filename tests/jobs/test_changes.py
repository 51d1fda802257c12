"""A change feed is the difference of two generations, whatever the commands between them were."""

from pathlib import Path

import pytest
from anyio import to_thread

from exporter.contract import DAY, HOUR
from exporter.jobs.compact import compact
from exporter.model import TABLES
from exporter.progress import Quiet
from exporter.settings import Selection
from tests.jobs.moving import fill, moving_source, run_sync
from tests.toolkit.feeds import Table, check_feed, feed_of, read_table
from tests.toolkit.recorded import state_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(2))
async def test_it_is_the_difference_of_two_generations(seed: int, tmp_path: Path) -> None:
    root = tmp_path / "out"
    tables: dict[int, dict[str, Table]] = {}
    async with moving_source(seed) as source:
        fill(source)
        asked = Selection(tables=TABLES, partition_by="day")
        for number in range(6):
            await run_sync(root, source, asked)
            if number == 3:
                await compact(root, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
            now = {table: await to_thread.run_sync(read_table, root, table) for table in TABLES}
            tables[state_of(root).number] = now
            for table in TABLES:
                whole = await to_thread.run_sync(feed_of, root, 0, None, table)
                await to_thread.run_sync(check_feed, {}, whole, now[table])
                for since, before in tables.items():
                    feed = await to_thread.run_sync(feed_of, root, since, None, table)
                    await to_thread.run_sync(check_feed, before[table], feed, now[table])
            for _ in range(12):
                source.move()
            source.now += DAY + HOUR * number
