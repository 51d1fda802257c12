"""Reads alone what looks too little for tasks, and hands over to them as soon as it turns out to be much."""

from typing import Final

import anyio

from exporter.engine import Engine
from exporter.pipeline.pipeline import Pipeline
from exporter.schedule.scheduler import Scheduler
from exporter.tasks import alongside

#: Before this, a run has hardly met anything, and a nightly one has mostly ended.
_ALONE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5


async def read_alone(pipeline: Pipeline, scheduler: Scheduler, engine: Engine | None) -> None:
    """Runs the pipeline to its end or, if there is an `engine`, until what is left seems worth tasks: only the end of
    it was seen before, and there may be much below. Raises as `Pipeline.run`."""
    if engine is None:
        await pipeline.run()
        return
    from exporter.run.distribution_call import wake
    from exporter.schedule.shares import is_worth_handing_over

    async def hand_over() -> None:
        await anyio.sleep(_ALONE_SECONDS)
        while True:
            if is_worth_handing_over(scheduler.pages_left):
                break
            await anyio.sleep(_LOOK_SECONDS)
        # Nothing waits for processes that begin, or for a cluster that makes room.
        await wake(engine)
        pipeline.finish()

    async with alongside(hand_over):
        await pipeline.run()
