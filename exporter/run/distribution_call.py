"""Hands a task to an engine, and takes its answer, whatever that is."""

from contextlib import suppress
from functools import partial
from typing import Final

import anyio
from anyio import CapacityLimiter, move_on_after, to_thread

from exporter.engine import Engine
from exporter.errors import EngineError, ExporterError
from exporter.run.distribution_adoption import check_staged
from exporter.run.distribution_outcomes import as_said, check_outcome
from exporter.run.share import MOST_BYTES, Outcome, Share, decode_outcome, encode
from exporter.store.base import Store

#: So many workers are woken at most: the others begin while these read.
_MOST_WOKEN: Final = 16
#: How many slots there are is no reason to wait for a cluster that does not say it.
_SLOTS_SECONDS: Final = 10.0


async def answer_to(engine: Engine, threads: CapacityLimiter, store: Store, share: Share) -> Outcome:
    """Returns what a task has brought, all of which is staged. One of the `threads` waits for that.

    Raises `EngineError` if there is no such answer, what the engine raises or `check_outcome`, and `StoreError`.
    """
    asked = partial(call, engine, encode(share))
    # A thread that waits for an engine is left behind when the run ends at once; closing the engine frees it.
    outcome = decode_outcome(await to_thread.run_sync(asked, abandon_on_cancel=True, limiter=threads))
    check_outcome(share, outcome)
    await check_staged(store, outcome)
    return outcome


async def wake(engine: Engine) -> None:
    """Lets an engine start its workers, and returns when one of them is there, or it is known that none comes: then a
    task says why."""
    threads = CapacityLimiter(_MOST_WOKEN)

    async def ask() -> None:
        with suppress(ExporterError):
            await to_thread.run_sync(partial(call, engine, b""), abandon_on_cancel=True, limiter=threads)
        waking.cancel_scope.cancel()

    slots = await slots_of(engine, threads, known=1)
    async with anyio.create_task_group() as waking:
        for _ in range(min(slots, _MOST_WOKEN)):
            waking.start_soon(ask)


async def slots_of(engine: Engine, threads: CapacityLimiter, known: int) -> int:
    """Returns how many tasks an engine runs at once, at least 1; as many as are `known` if it does not say so
    soon. It may have to ask a cluster for that."""

    def ask() -> int:
        try:
            return max(1, int(engine.slots))
        except BaseException:  # noqa: BLE001 - as in `call`; what is wrong with the cluster is said by a task that fails
            return known

    with move_on_after(_SLOTS_SECONDS):
        return await to_thread.run_sync(ask, abandon_on_cancel=True, limiter=threads)
    return known


def call(engine: Engine, task: bytes) -> bytes:
    """Returns what an engine has answered. Blocks. Raises the `ExporterError` that the engine raises, and `EngineError`
    for anything else that it does: an exception of any class must not end a thread, a loop, or this process."""
    try:
        answer = engine.call(task)
    except ExporterError:
        raise
    except BaseException as error:  # engines are also written by others
        raise EngineError(f"{engine.name} failed with {type(error).__name__}: {as_said(str(error))}") from error
    if not isinstance(answer, bytes) or len(answer) > MOST_BYTES:
        raise EngineError(f"{engine.name} gave an answer that is none: {type(answer).__name__}")
    return answer
