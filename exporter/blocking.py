"""Runs commands as plain calls, for scripts that have no event loop; each returns what its awaitable twin returns.

    summary = exporter.blocking.export(spec)

A call runs an event loop of its own until it is done. Where one runs already, as in a notebook, it raises `UsageError`:
`await exporter.export(spec)` there. Ctrl-C ends a call with `KeyboardInterrupt`; what was committed is kept.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from exporter.api import calls, privacy, reading, upkeep
from exporter.errors import UsageError
from exporter.jobs.batch_iterator import BatchIterator
from exporter.model import CONVERSATIONS
from exporter.options.spec import ExportSpec
from exporter.progress import Observer

P = ParamSpec("P")
T = TypeVar("T")

__all__ = [
    "BatchIterator",
    "accept",
    "audit",
    "changes",
    "check",
    "compact",
    "convert",
    "erase",
    "expire",
    "export",
    "make_report",
    "plan",
    "protect",
    "reconcile",
    "recordings",
    "rekey",
    "reread",
    "schema",
    "status",
    "stream",
    "sync",
    "vacuum",
    "verify",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def _plain(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    @wraps(call)
    def run(*args: P.args, **options: P.kwargs) -> T:
        _refuse_a_loop(call.__name__)
        return asyncio.run(call(*args, **options))

    return run


def _refuse_a_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(f"an event loop runs in this thread: use exporter.{name} with await, not exporter.blocking.{name}")


accept: Final = _plain(upkeep.accept)
audit: Final = _plain(calls.audit)
changes: Final = _plain(reading.changes)
check: Final = _plain(calls.check)
compact: Final = _plain(upkeep.compact)
make_report: Final = _plain(reading.make_report)
convert: Final = _plain(upkeep.convert)
expire: Final = _plain(privacy.expire)
erase: Final = _plain(privacy.erase)
export: Final = _plain(calls.export)
reconcile: Final = _plain(calls.reconcile)
recordings: Final = _plain(calls.recordings)
plan: Final = _plain(calls.plan)
protect: Final = _plain(privacy.protect)
rekey: Final = _plain(privacy.rekey)
reread: Final = _plain(calls.reread)
schema: Final = _plain(calls.schema)
status: Final = _plain(calls.status)
sync: Final = _plain(calls.sync)
vacuum: Final = _plain(upkeep.vacuum)
verify: Final = _plain(upkeep.verify)


def stream(spec: ExportSpec, *, table: str = CONVERSATIONS, observer: Observer | None = None) -> BatchIterator:
    """Gives the rows of `spec` as `exporter.stream` does, to a plain `for`. The observer is called in another thread.

    Raises `UsageError`; the iterator raises `ExporterError`, and what `observer` raises.
    """
    _refuse_a_loop("stream")
    return BatchIterator(calls.stream(spec, table=table, observer=observer))
