"""A change feed is the difference of two generations, whatever the commands between them were."""

import itertools
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from exporter.contract import DAY, HOUR, MINUTE
from exporter.jobs.compact import compact
from exporter.jobs.sync import sync
from exporter.model import TABLES
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from tests.jobs.moving import fill, moving_source, settings_for
from tests.toolkit.feeds import Generations, feed_of
from tests.toolkit.recorded import state_of
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(size_of(1, 20)))
async def test_it_is_the_difference_of_two_generations(seed: int, tmp_path: Path) -> None:
    root = tmp_path / "out"
    generations = Generations(root)
    async with moving_source(seed) as source:
        fill(source)
        for number in range(5):
            source.now += 2 * MINUTE
            context = RunContext(settings_for(source, target_part_bytes=1), Credentials(TOKEN), Quiet())
            await sync(root, Selection(tables=TABLES, partition_by="month"), context, keep_generations=2)
            generations.note(state_of(root))
            await to_thread.run_sync(partial(generations.check_from_all, is_exact=True))
            if number == 3:
                before = state_of(root).number
                await compact(root, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
                feed = await to_thread.run_sync(feed_of, root, before)
                assert feed.to > before
                assert (feed.inserts, feed.updates, feed.deletes, [*feed]) == (0, 0, 0, [])
            for _ in range(12):
                source.move()
            source.now += DAY + HOUR * number
        numbers = [*generations.tables]
        for since, to in itertools.pairwise(numbers):
            await to_thread.run_sync(partial(generations.check, since, to, is_exact=True))
