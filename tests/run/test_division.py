"""What was put off at first is asked while the pipeline runs."""

from types import SimpleNamespace

import anyio
import pytest

from exporter.errors import AccessError, ExporterError
from exporter.model import PageRequest
from exporter.pipeline.probe import Opening
from exporter.run.division import run_looking

pytestmark = pytest.mark.anyio


class Pipeline:
    """Runs until it is stopped; the methods are those of the real one."""

    def __init__(self) -> None:
        self.stopped = anyio.Event()
        self.failure: ExporterError | None = None

    async def run(self) -> None:
        await self.stopped.wait()
        if self.failure is not None:
            raise self.failure

    def stop(self, why: ExporterError) -> None:
        self.failure = why
        self.stopped.set()


async def test_a_question_that_fails_stops_the_pipeline_as_one_of_its_own_does() -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AccessError("revoked")

    opening, reader = Opening(close_question=PageRequest(1, 0, 1, 2)), SimpleNamespace(look=refuse)
    with pytest.raises(AccessError, match="revoked"):
        await run_looking(Pipeline(), reader, opening)  # type: ignore[arg-type]


async def test_a_pipeline_that_has_read_everything_waits_for_no_answer() -> None:
    pipeline = Pipeline()

    async def keep_waiting(*_: object, **__: object) -> None:
        pipeline.stopped.set()
        await anyio.sleep_forever()

    opening, reader = Opening(close_question=PageRequest(1, 0, 1, 2)), SimpleNamespace(look=keep_waiting)
    await run_looking(pipeline, reader, opening)  # type: ignore[arg-type]
