"""A span is divided into pieces without a gap, none of which has many more rows than it may."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.coverage import Interval
from exporter.model import DataFile
from exporter.report.scope import divide


@st.composite
def files(draw: st.DrawFn) -> list[DataFile]:
    edges = sorted(draw(st.sets(st.integers(0, 10_000), min_size=2, max_size=20)))
    return [
        DataFile(
            path=f"turns/part-{start}.parquet",
            table="turns",
            partition={},
            rows=draw(st.integers(1, 500)),
            size_bytes=1,
            sha256="",
            created_at_min=start,
            created_at_max=end - 1,
            window=Interval(start, end),
        )
        for start, end in pairwise(edges)
    ]


@settings(deadline=None)
@given(files(), st.integers(1, 300))
def test_pieces_have_no_gap_and_not_too_many_rows(some: list[DataFile], most: int) -> None:
    span = Interval(min(file.created_at_min for file in some), max(file.created_at_max for file in some) + 1)
    pieces = [*divide(span, some[::-1], most)]
    assert (pieces[0].start, pieces[-1].end) == (span.start, span.end)
    assert all(one.end == other.start for one, other in pairwise(pieces))
    for piece in pieces:
        # A file of one instant cannot be divided.
        spread = sum(
            file.rows
            * (min(file.created_at_max + 1, piece.end) - max(file.created_at_min, piece.start))
            / (file.created_at_max + 1 - file.created_at_min)
            for file in some
            if file.created_at_min < piece.end and file.created_at_max >= piece.start
        )
        longest = max(file.rows / (file.created_at_max + 1 - file.created_at_min) for file in some)
        assert spread <= 2 * most + longest + len(some)


def test_a_span_without_files_is_one_piece() -> None:
    assert [*divide(Interval(5, 9), [], 10)] == [Interval(5, 9)]
