"""Buckets are narrow, and quantiles of them are those of the values."""

from collections import Counter
from collections.abc import Iterator
from math import ceil

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.report import conversation_figures, turn_figures
from exporter.report.histogram import bucket_of, bucket_sql, describe, merged, quantile

wholes = st.one_of(st.integers(-5, 5_000), st.integers(0, 10**7), st.integers(-(2**63), 2**63 - 1))


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as found:
        yield found


@settings(deadline=None)
@given(st.lists(wholes, max_size=20))
def test_sql_puts_values_into_the_same_buckets(connection: duckdb.DuckDBPyConnection, values: list[int]) -> None:
    query = f"SELECT {bucket_sql('x')} FROM (SELECT unnest($values::BIGINT[]) AS x)"
    found = [bucket for (bucket,) in connection.execute(query, {"values": values}).fetchall()]
    assert found == [bucket_of(value) for value in values]


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_a_bucket_is_narrow(value: int) -> None:
    bucket = bucket_of(value)
    assert bucket is not None
    assert bucket <= value < bucket + max(1, bucket / 500)
    assert bucket_of(bucket) == bucket
    assert value >= 1024 or bucket == value


@settings(deadline=None)
@given(st.lists(st.integers(0, 1023), min_size=1), st.sampled_from((0.5, 0.95)))
def test_a_quantile_is_the_least_value_that_enough_values_do_not_exceed(values: list[int], share: float) -> None:
    found = quantile(Counter(values), share)
    assert found == sorted(values)[ceil(len(values) * round(share * 100) / 100) - 1]


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000)), st.integers(0, 9))
def test_a_distribution_counts_each_row_once(values: list[int], without: int) -> None:
    edges = (0, 0.5, 1, 2.5, 5)
    histogram = Counter(bucket for value in values if (bucket := bucket_of(value)) is not None)
    found = describe(histogram, len(values) + without, edges, 0.001)
    assert (found.count, found.missing) == (len(values), without)
    for one in found.bins:
        inside = [
            value for value in values if value >= one.low * 1000 and (one.high is None or value < one.high * 1000)
        ]
        assert one.count == len(inside)


@pytest.mark.parametrize(
    ("edges", "unit"),
    [
        (conversation_figures._DURATION_EDGES, 1),
        (conversation_figures._TURNS_EDGES, 1),
        (turn_figures._LATENCY_EDGES, 0.001),
        (turn_figures._CONFIDENCE_EDGES, 0.001),
    ],
)
def test_no_bucket_lies_in_two_bins(edges: tuple[float, ...], unit: float) -> None:
    assert all(bucket_of(round(edge / unit)) == round(edge / unit) for edge in edges)
    assert edges[0] == 0


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, 9))))
def test_merged_histograms_count_all(histograms: list[dict[int, int]]) -> None:
    assert Counter(merged(histograms)) == sum(map(Counter, histograms), Counter())
