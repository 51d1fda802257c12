"""Ends a pipeline before it has read everything: at once, or as soon as what was asked for is there."""

from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CancelScope

from exporter.errors import ExporterError


class Halt:
    """Says whether walks read on. `failure` is why they do not, if that is one."""

    def __init__(self) -> None:
        self.failure: ExporterError | None = None
        self.is_at_once = False
        #: Whether any walk has got anywhere.
        self.has_advanced = False
        self._is_soon = False
        # A dict keeps the order, so that a run with simulated times goes the same way twice.
        self._abandonable: dict[CancelScope, None] = {}

    @property
    def is_due(self) -> bool:
        """Returns whether nothing more is asked for."""
        return self.is_at_once or (self._is_soon and self.has_advanced)

    def soon(self) -> None:
        """Lets what was asked for come, and lasts until a walk has got anywhere: otherwise another run would begin in
        the same place, and end there too."""
        self._is_soon = True

    def at_once(self, why: ExporterError | None) -> None:
        """Gives up what was asked for. The first reason counts."""
        self.failure = self.failure or why
        self.is_at_once = True
        for scope in self._abandonable:
            scope.cancel()

    @contextmanager
    def abandonable(self) -> Iterator[CancelScope]:
        """Lets `at_once` give up the request inside: the walk then stays where it was."""
        with CancelScope() as scope:
            self._abandonable[scope] = None
            if self.is_at_once:
                scope.cancel()
            try:
                yield scope
            finally:
                del self._abandonable[scope]
