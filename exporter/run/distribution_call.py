"""Hands a task to an engine, and takes its answer, whatever that is."""

from functools import partial

from anyio import CapacityLimiter, to_thread

from exporter.engine import Engine
from exporter.errors import EngineError, ExporterError
from exporter.run.distribution_adoption import check_staged
from exporter.run.distribution_outcomes import check_outcome
from exporter.run.share import MOST_BYTES, Outcome, Share, decode_outcome, encode
from exporter.store.base import Store


async def answer_to(engine: Engine, threads: CapacityLimiter, store: Store, share: Share) -> Outcome:
    """Returns what a task has brought, all of which is staged. One of the `threads` waits for that.

    Raises `EngineError` if there is no such answer, what the engine raises or `check_outcome`, and `StoreError`.
    """
    outcome = decode_outcome(await called(engine, threads, encode(share)))
    check_outcome(share, outcome)
    await check_staged(store, outcome)
    return outcome


async def called(engine: Engine, threads: CapacityLimiter, task: bytes) -> bytes:
    """Returns what an engine answers to a task. One of the `threads` waits for that.

    Raises `EngineError`, whatever is wrong with the engine, and other errors of the exporter that it raises.
    """
    # A thread that waits for an engine is left behind when the run ends at once; closing the engine frees it.
    return await to_thread.run_sync(partial(_call, engine, task), abandon_on_cancel=True, limiter=threads)


async def slots_of(engine: Engine, threads: CapacityLimiter, known: int) -> int:
    """Returns how many tasks an engine runs at once, at least 1; as many as are `known` if it does not say. It may have
    to ask a cluster for that."""
    try:
        return max(1, await to_thread.run_sync(lambda: engine.slots, abandon_on_cancel=True, limiter=threads))
    except Exception:  # noqa: BLE001 - as in `_call`; what is wrong with the cluster is said by a task that fails
        return known


def _call(engine: Engine, task: bytes) -> bytes:
    try:
        answer = engine.call(task)
    except ExporterError:
        raise
    except Exception as error:  # engines are also written by others
        raise EngineError(f"{engine.name} failed with {type(error).__name__}: {error}") from error
    if not isinstance(answer, bytes) or len(answer) > MOST_BYTES:
        raise EngineError(f"{engine.name} gave an answer that is none: {type(answer).__name__}")
    return answer
