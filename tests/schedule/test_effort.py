"""Requests are forecast between two bounds that hold the number itself, and grow with what there is to read."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.schedule.effort import Effort, export_effort, sync_effort

PAGES, WORKERS = st.integers(0, 10_000), st.integers(1, 64)


@given(PAGES, WORKERS, st.integers(1, 6), st.booleans(), st.booleans())
def test_an_export(pages: int, workers: int, lists: int, is_open: bool, is_tied: bool) -> None:
    found = export_effort(pages, workers=workers, lists=lists, is_open=is_open, is_tied=is_tied)
    assert pages < found.low <= found.likely <= found.high
    more = export_effort(pages + 100, workers=workers, lists=lists, is_open=is_open, is_tied=is_tied)
    assert more.low > found.low and more.likely > found.likely and more.high > found.high


@given(PAGES, WORKERS, st.integers(0, 10_000), st.booleans())
def test_a_sync(pages: int, workers: int, stored: int, has_changed: bool) -> None:
    found = sync_effort(pages, workers=workers, stored=stored, has_changed=has_changed)
    assert pages < found.low <= found.likely <= found.high


def test_what_each_row_costs_is_added_to_all() -> None:
    assert Effort(1, 2, 3) + 10 == Effort(11, 12, 13)
