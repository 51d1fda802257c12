"""Collects the mistakes of a file, so that all are said at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exporter.errors import UsageError

_MOST_SAID: Final = 20


class Mistakes:
    """Holds the mistakes that were found in a file, in their order."""

    def __init__(self) -> None:
        self._found: dict[str, UsageError] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keeps the mistake that ends the block; whatever comes after the block goes on."""
        try:
            yield
        except UsageError as error:
            self._found.setdefault(str(error), error)

    def check(self) -> None:
        """Raises `UsageError` with a line for each mistake, if there was any."""
        if not self._found:
            return
        lines = list(self._found)
        more = [f"and {len(lines) - _MOST_SAID} more"] if len(lines) > _MOST_SAID else []
        first = next(iter(self._found.values()))
        raise UsageError("\n".join([*lines[:_MOST_SAID], *more])) from first.__cause__
