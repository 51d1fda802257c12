"""Guards the work of a run against an observer that raises.

The error ends the work, and is raised from it, whichever task the observer was called in.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio import CancelScope

from exporter.errors import ExporterError
from exporter.progress import Observer, Quiet, Snapshot

T = TypeVar("T")


class GuardedObserver:
    """Stands in front of an observer that may raise. It never raises itself: it keeps the error, and calls `stop`."""

    def __init__(self, observer: Observer, stop: Callable[[], object]) -> None:
        self.failure: Exception | None = None
        self._observer = observer
        self._stop = stop

    def progress(self, snapshot: Snapshot) -> None:
        self._tell(lambda: self._observer.progress(snapshot))

    def note(self, event: str, /, **details: object) -> None:
        self._tell(lambda: self._observer.note(event, **details))

    def warn(self, event: str, /, **details: object) -> None:
        self._tell(lambda: self._observer.warn(event, **details))

    def close(self) -> None:
        """Does nothing: an observer is closed by the caller that made it."""

    def _tell(self, call: Callable[[], None]) -> None:
        if self.failure is not None:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - `observed` raises it again
            self.failure = error
            self._stop()


async def observed(observer: Observer | None, job: Callable[[Observer], Awaitable[T]]) -> T:
    """Does `job`, which reports to `observer`, if there is one. Raises what either raises."""
    if observer is None:
        return await job(Quiet())
    with CancelScope() as scope:
        watched = GuardedObserver(observer, scope.cancel)
        try:
            result = await job(watched)
        except ExporterError:
            if watched.failure is None:
                raise
    if watched.failure is not None:
        raise watched.failure
    return result
