"""Names the parts of a run."""

from collections.abc import Iterator
from itertools import count


def part_names(run: str) -> Iterator[str]:
    """Yields the names of the parts of a run, which takes each once."""
    return (f"{run}-{number:06d}" for number in count(1))
