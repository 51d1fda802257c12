from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Interval
from exporter.model import DataFile
from exporter.parts.nulls import Nulls
from exporter.pipeline.marks import marks_by_nulls
from exporter.pipeline.spool_sink import SpooledPart

nulls = st.integers(0, 10)


@given(old=st.tuples(nulls, nulls), extra=nulls, lost=nulls, served=st.tuples(nulls, nulls), gained=nulls, rows=nulls)
def test_at_most_as_many_rows_count_as_served_without_a_field_as_have_a_null_there(
    old: tuple[int, int], extra: int, lost: int, served: tuple[int, int], gained: int, rows: int
) -> None:
    absent, withheld = old
    nulls_before = max(old) + extra
    lost = min(lost, nulls_before)
    file = DataFile(
        path="conversations/part.parquet",
        table="conversations",
        partition={},
        rows=100,
        size_bytes=1,
        sha256="",
        created_at_min=0,
        created_at_max=0,
        window=Interval(0, 1),
        absent={"summary": absent},
        withheld_rows=withheld,
    )
    spooled = SpooledPart(Path("part"), 1, 0, rows, {"summary": served[0]}, served[1])
    after, withheld_after = marks_by_nulls(
        file, Nulls(Counter(summary=lost), lost), [spooled], Nulls(Counter(summary=gained), gained)
    )
    for before, came, now in ((absent, served[0], after["summary"]), (withheld, served[1], withheld_after)):
        assert 0 <= now <= nulls_before - lost + gained
        # If each null was a field that was not served, the count is exact.
        if before == nulls_before and came >= gained:
            assert now == nulls_before - lost + gained
        if not before and not came:
            assert now == 0
