"""Chooses when made-up conversations begin: the shapes in time that a bulk export must cope with."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, get_args

from exporter.contract import HOUR, SECOND, Instant

Density: TypeAlias = Literal["flat", "office", "one-burst", "many-bursts", "bulk"]
DENSITIES: Final[tuple[str, ...]] = get_args(Density)

#: Each hour of the day (UTC) has this many calls, relative to the busiest; a call centre never quite sleeps.
_HOURS = (1, 1, 1, 1, 1, 2, 6, 18, 52, 88, 100, 96, 74, 80, 95, 92, 78, 55, 28, 14, 8, 5, 3, 2)
_DAYS = (1.0, 0.97, 0.94, 0.92, 0.85, 0.14, 0.08)
_BURST_SHARE, _BURST_WIDTH = 0.75, 0.03
_BURSTS, _BURSTS_SHARE, _BURSTS_WIDTH = 24, 0.85, 0.0005
_BULK_SHARE, _BULK_SMALLEST, _BULK_LARGEST = 0.7, 2, 4000


def spread(count: int, since: Instant, until: Instant, density: Density, rng: random.Random) -> list[Instant]:
    """Returns `count` instants in `[since, until)`, newest first."""
    return sorted(_SPREADS[density](count, since, until, rng), reverse=True)


def _flat(count: int, since: Instant, until: Instant, rng: random.Random) -> list[Instant]:
    width = until - since
    return [since + int(rng.random() * width) for _ in range(count)]


def _office(count: int, since: Instant, until: Instant, rng: random.Random) -> list[Instant]:
    hours = range(since // HOUR * HOUR, until, HOUR)
    starts = [max(start, since) for start in hours]
    widths = [min(start + HOUR, until) - max(start, since) for start in hours]
    weights = [_busyness(start) * width for start, width in zip(starts, widths, strict=True)]
    chosen = rng.choices(range(len(starts)), weights, k=count)
    return [starts[hour] + int(rng.random() * widths[hour]) for hour in chosen]


def _busyness(instant: Instant) -> float:
    moment = datetime.fromtimestamp(instant // SECOND, UTC)
    return _HOURS[moment.hour] * _DAYS[moment.weekday()]


def _one_burst(count: int, since: Instant, until: Instant, rng: random.Random) -> list[Instant]:
    width = until - since
    start = since + int(width * 0.6)
    end = max(start + 1, start + int(width * _BURST_WIDTH))
    inside = round(count * _BURST_SHARE)
    return _flat(inside, start, end, rng) + _flat(count - inside, since, until, rng)


def _many_bursts(count: int, since: Instant, until: Instant, rng: random.Random) -> list[Instant]:
    width = max(1, int((until - since) * _BURSTS_WIDTH))
    starts = _flat(_BURSTS, since, until - width + 1, rng)
    inside = round(count * _BURSTS_SHARE)
    instants = [rng.choice(starts) + int(rng.random() * width) for _ in range(inside)]
    return instants + _flat(count - inside, since, until, rng)


def _bulk(count: int, since: Instant, until: Instant, rng: random.Random) -> list[Instant]:
    """Groups exactly equal instants, as imports leave them (source.md, 3); the first group is the largest that fits."""
    left = round(count * _BULK_SHARE)
    instants = _flat(count - left, since, until, rng)
    size = min(_BULK_LARGEST, left // 2)
    while left >= _BULK_SMALLEST:
        size = min(max(size, _BULK_SMALLEST), left)
        instants += _flat(1, since, until, rng) * size
        left -= size
        size = int(_BULK_SMALLEST * (_BULK_LARGEST / _BULK_SMALLEST) ** rng.random())
    return instants + _flat(left, since, until, rng)


_SPREADS: Final[dict[Density, Callable[[int, Instant, Instant, random.Random], list[Instant]]]] = {
    "flat": _flat,
    "office": _office,
    "one-burst": _one_burst,
    "many-bursts": _many_bursts,
    "bulk": _bulk,
}
