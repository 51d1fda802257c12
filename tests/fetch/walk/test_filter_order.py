"""Tests how it is found out whether the API applies a filter before or after it limits a page."""

from collections.abc import Generator, Sequence

import pytest

from exporter.contract import SECOND
from exporter.fetch.walk.filter_order import FilterOrder
from exporter.model import Page, PageRequest
from tests.fetch.walk.server_model import FILTER, T0, Behaviour, ServerModel, StoredRow


def learned(matching: Sequence[bool], behaviour: Behaviour, trials: int = 1) -> tuple[FilterOrder, int]:
    """Returns what trials of a list have shown, of which these rows, from new to old, match; and the requests."""
    rows = [StoredRow(f"c{number}", T0 - number * SECOND, matches=each) for number, each in enumerate(matching)]
    server, filter_order = ServerModel(rows, behaviour), FilterOrder()
    filter_order.filters = (FILTER,)
    lowest = min(row.created_at for row in rows if row.matches)
    for _ in range(trials):
        asking: Generator[PageRequest, Page[StoredRow], None] = filter_order.learn(PageRequest(1000), lowest)
        try:
            request = next(asking)
            while True:
                request = asking.send(server.answer(request))
        except StopIteration:
            pass
    return filter_order, server.requests


@pytest.mark.parametrize("cap", [2, 5, 1000])
@pytest.mark.parametrize("matching", [(False, True), (True, False, True), (False, False, False, False, True, True)])
def test_a_page_that_would_end_with_a_row_that_is_left_out_tells(matching: Sequence[bool], cap: int) -> None:
    filter_order, _ = learned(matching, Behaviour(page_cap=cap))
    assert (filter_order.comes_first, filter_order.ends_late) == (True, False)
    filter_order, _ = learned(matching, Behaviour(page_cap=cap, filters_late=True))
    assert (filter_order.comes_first, filter_order.ends_late) == (False, True)


@pytest.mark.parametrize("filters_late", [False, True])
def test_where_nothing_is_left_out_above_a_known_row_nothing_is_told(filters_late: bool) -> None:
    filter_order, _ = learned((True, True, False, False), Behaviour(filters_late=filters_late))
    assert (filter_order.comes_first, filter_order.ends_late) == (False, False)


def test_what_tells_nothing_is_given_up() -> None:
    filter_order, requests = learned((True, True, False), Behaviour(), trials=100)
    assert not filter_order.is_untried
    assert requests < 20


def test_a_filter_is_not_believed_for_what_else_leaves_rows_out() -> None:
    filter_order, _ = learned((False, True), Behaviour())
    filter_order.leaves_out_others = True
    assert not filter_order.comes_first
