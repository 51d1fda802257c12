"""Counts what rules do, from several threads at once."""

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Final


class Tally:
    """Counts values by the path of a rule: those `reached`, those `changed`, and the `odd` ones that it cannot read."""

    def __init__(self) -> None:
        self.reached: Final[Counter[str]] = Counter()
        self.changed: Final[Counter[str]] = Counter()
        self.odd: Final[Counter[str]] = Counter()
        self.rows = 0
        self._lock = Lock()

    def count(self, rows: int) -> None:
        with self._lock:
            self.rows += rows

    def add(
        self,
        reached: Mapping[str, int] | None = None,
        changed: Mapping[str, int] | None = None,
        odd: Mapping[str, int] | None = None,
    ) -> None:
        with self._lock:
            self.reached.update(reached or {})
            self.changed.update(changed or {})
            self.odd.update(odd or {})

    def copy(self, counter: Counter[str]) -> Counter[str]:
        """Returns one of the counters as it is now, without those that are 0."""
        with self._lock:
            return +counter
