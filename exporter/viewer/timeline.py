"""Knows from the manifest roughly how many conversations were created when, so that a search reads little. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from exporter.contract import Instant


class Span(NamedTuple):
    """Says that `rows` were created from `first` to `last`, both included; `key` is their partition's, if they have
    one."""

    first: Instant
    last: Instant
    rows: int
    key: str | None = None


class Window(NamedTuple):
    """Holds the instants of `[start, end)`. The keys of the partitions that have rows in it lie between the two of
    `keys`, both included, in the order of texts."""

    start: Instant
    end: Instant
    keys: tuple[str, str] | None


class Timeline:
    """Cuts time into windows that hold about as many rows as a reader can look at."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(spans, key=lambda span: span.last, reverse=True)

    def window_of(self, first: Instant, last: Instant) -> Window:
        """Returns the window from one instant to another, both included."""
        return self._window(first, last + 1)

    def latest(self, since: Instant, before: Instant, rows: int) -> Window | None:
        """Returns the latest part of `[since, before)` with about this many rows; None if there are none in it.

        There are no rows between its end and `before`. The windows of a search meet, and their starts descend.
        """
        inside = [span for span in self._spans if span.first < before and span.last >= since]
        if not inside or since >= before:
            return None
        end, start, found = min(before, inside[0].last + 1), max(since, min(span.first for span in inside)), 0
        for span in inside:
            top, width = min(end, span.last + 1), span.last + 1 - span.first
            here = -(-span.rows * (top - span.first) // width)
            if found + here >= rows:
                share = (top - span.first) * (rows - found) // max(1, here)
                start = max(start, min(top - max(1, share), end - 1))
                break
            found += here
        return self._window(start, end)

    def _window(self, start: Instant, end: Instant) -> Window:
        keys = [span.key for span in self._spans if span.first < end and span.last >= start and span.key is not None]
        return Window(start, end, (min(keys), max(keys)) if keys else None)
