"""Chooses windows to audit in place of the whole, and tells what they say about it. Pure."""

from collections.abc import Iterable, Sequence
from math import ceil, comb
from random import Random
from typing import Final

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.model import DataFile

#: A small export is cut into at least about this many, so that it also has a choice of them.
_FEWEST_WINDOWS: Final = 20
CONFIDENCE: Final = 0.95


def cut_windows(coverage: Coverage, files: Iterable[DataFile], window_rows: int) -> list[Interval]:
    """Cuts `coverage` into windows with about `window_rows` rows each, as far as the parts' times and counts tell."""
    parts = sorted(files, key=lambda file: file.created_at_min)
    rows = sum(file.rows for file in parts)
    step = min(float(window_rows), rows / _FEWEST_WINDOWS)
    cuts: list[Instant] = []
    before, due = 0, step
    for file in parts:
        span = file.created_at_max - file.created_at_min
        while due < before + file.rows:
            cuts.append(file.created_at_min + round(span * (due - before) / file.rows))
            due += step
        before += file.rows
    return [window for interval in coverage for window in _cut(interval, cuts)]


def _cut(interval: Interval, cuts: Sequence[Instant]) -> Iterable[Interval]:
    inside = sorted({cut for cut in cuts if interval.start < cut < interval.end})
    edges = [interval.start, *inside, interval.end]
    return map(Interval, edges[:-1], edges[1:])


def choose_windows(windows: Sequence[Interval], share: float, chance: Random) -> list[Interval]:
    """Returns about `share` of the windows, at least one, in ascending order."""
    return sorted(chance.sample(windows, max(1, min(len(windows), round(share * len(windows))))))


def most_differing(windows: int, looked_at: int, differing: int, confidence: float = CONFIDENCE) -> int:
    """Returns the most of all `windows` that may differ, of which `looked_at` were drawn at random and `differing` do.

    If one more differed, at most `1 - confidence` of all samples would show this few (hypergeometric).
    """
    least, most = differing, windows - (looked_at - differing)
    while least < most:
        middle = ceil((least + most) / 2)
        if _chance_of_at_most(windows, looked_at, differing, middle) > 1 - confidence:
            least = middle
        else:
            most = middle - 1
    return least


def _chance_of_at_most(windows: int, looked_at: int, differing: int, really: int) -> float:
    ways = sum(comb(really, number) * comb(windows - really, looked_at - number) for number in range(differing + 1))
    return ways / comb(windows, looked_at)
