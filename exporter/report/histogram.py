"""Counts values in buckets that are narrow enough for quantiles, and few enough for any number of rows. Pure.

A value is a whole number: seconds, milliseconds, thousandths. Up to `_EXACT` each has a bucket of its own; above, a
bucket is named by its least value, and no wider than 0.2 percent of it. Exact quantiles would hold every value in
memory; the usual sketches answer otherwise whenever rows come in another order, and a report must not.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from exporter.report.model import Bin, Distribution

#: Buckets of one value end here.
_EXACT_BITS: Final = 10
_EXACT: Final = 1 << _EXACT_BITS
#: DuckDB's integers have this many bits beside the sign.
_BITS: Final = 63

#: The unit of values that are thousandths: of a second, or of all.
THOUSANDTH: Final = 0.001

#: How many rows have a value in each bucket.
Histogram: TypeAlias = Mapping[int, int]


def bucket_sql(value: str) -> str:
    """Returns SQL for the bucket of an expression of whole numbers, which must be cheap; null for those below 0."""
    wider = " ".join(
        f"WHEN {value} < {1 << bits} THEN ({value} >> {bits - _EXACT_BITS}) << {bits - _EXACT_BITS}"
        for bits in range(_EXACT_BITS + 1, _BITS)
    )
    last = _BITS - _EXACT_BITS
    widest = f"({value} >> {last}) << {last}"
    # Null would go through every case.
    none = f"WHEN {value} IS NULL OR {value} < 0 THEN NULL"
    return f"CASE {none} WHEN {value} < {_EXACT} THEN {value} {wider} ELSE {widest} END"


def bucket_of(value: int) -> int | None:
    """Returns the bucket of a value, as `bucket_sql` does."""
    if value < 0:
        return None
    shift = max(0, value.bit_length() - _EXACT_BITS)
    return value >> shift << shift


def quantile(histogram: Histogram, share: float) -> int | None:
    """Returns the least value of the buckets that no less than `share` of all values are in or below; None if there
    is none."""
    total = sum(histogram.values())
    if not total:
        return None
    buckets = sorted(histogram)
    # In whole numbers, because 0.95 is a little more than it says.
    rank = max(1, -(-total * round(share * 1000) // 1000))
    sums = list(accumulate(histogram[bucket] for bucket in buckets))
    return buckets[bisect_right(sums, rank - 1)]


def describe(histogram: Histogram, rows: int, edges: Sequence[float], unit: float = 1) -> Distribution:
    """Describes the values of this many `rows`, of which those without a value are missing. `unit` is the size of one,
    in what the distribution is in; `edges` are the least values of bins in that, from 0 on."""
    count = sum(histogram.values())
    bounds = [round(edge / unit) for edge in edges]
    counts = [0] * len(edges)
    for bucket, number in histogram.items():
        counts[bisect_right(bounds, bucket) - 1] += number
    return Distribution(
        count=count,
        missing=rows - count,
        p50=scaled(quantile(histogram, 0.5), unit),
        p95=scaled(quantile(histogram, 0.95), unit),
        maximum=scaled(max(histogram, default=None), unit),
        bins=tuple(
            Bin(low=low, high=high, count=number)
            for low, high, number in zip(edges, (*edges[1:], None), counts, strict=True)
        ),
    )


def scaled(value: int | None, unit: float) -> float | None:
    """Returns a value in what a report shows."""
    return None if value is None else round(float(value) * unit, 3)


def merged(histograms: Iterable[Histogram]) -> dict[int, int]:
    """Returns the sum of histograms."""
    found: dict[int, int] = {}
    for histogram in histograms:
        for bucket, number in histogram.items():
            found[bucket] = found.get(bucket, 0) + number
    return found
