"""What holds of trials in any store."""

import asyncio
import threading

import pytest
from anyio import to_thread

from exporter.store.base import try_each

pytestmark = pytest.mark.anyio


async def test_a_step_that_has_begun_ends_before_a_signal_ends_the_trial() -> None:
    """A signal cancels the task itself, which would leave the thread of a step at work."""
    is_at_work, goes_on = threading.Event(), threading.Event()
    steps: list[str] = []

    def work() -> None:
        is_at_work.set()
        assert goes_on.wait(30)
        steps.append("write")

    async def write() -> None:
        await to_thread.run_sync(work)

    async def delete() -> None:
        steps.append("delete")

    trying = asyncio.create_task(try_each({"write": write, "delete": delete}))
    await to_thread.run_sync(is_at_work.wait, 30)
    trying.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    is_over = trying.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert not is_over
    assert steps == ["write"]
