"""Tests how it is found out whether the API applies a filter before or after it limits a page."""

from collections.abc import Generator, Sequence

import pytest

from exporter.contract import SECOND
from exporter.fetch.walk.filtering import Filtering
from exporter.model import Page, PageRequest
from tests.fetch.walk.server_model import FILTER, T0, Behaviour, ServerModel, StoredRow


def learned(matching: Sequence[bool], behaviour: Behaviour, trials: int = 1) -> tuple[Filtering, int]:
    """Returns what trials of a list have shown, of which these rows, from new to old, match; and the requests."""
    rows = [StoredRow(f"c{number}", T0 - number * SECOND, matches=each) for number, each in enumerate(matching)]
    server, filtering = ServerModel(rows, behaviour), Filtering()
    filtering.filters = (FILTER,)
    lowest = min(row.created_at for row in rows if row.matches)
    for _ in range(trials):
        asking: Generator[PageRequest, Page[StoredRow], None] = filtering.learn(PageRequest(1000), lowest)
        try:
            request = next(asking)
            while True:
                request = asking.send(server.answer(request))
        except StopIteration:
            pass
    return filtering, server.requests


@pytest.mark.parametrize("cap", [2, 5, 1000])
@pytest.mark.parametrize("matching", [(False, True), (True, False, True), (False, False, False, False, True, True)])
def test_a_page_that_would_end_with_a_row_that_is_left_out_tells(matching: Sequence[bool], cap: int) -> None:
    filtering, _ = learned(matching, Behaviour(page_cap=cap))
    assert (filtering.comes_first, filtering.ends_late) == (True, False)
    filtering, _ = learned(matching, Behaviour(page_cap=cap, filters_late=True))
    assert (filtering.comes_first, filtering.ends_late) == (False, True)


@pytest.mark.parametrize("filters_late", [False, True])
def test_where_nothing_is_left_out_above_a_known_row_nothing_is_told(filters_late: bool) -> None:
    filtering, _ = learned((True, True, False, False), Behaviour(filters_late=filters_late))
    assert (filtering.comes_first, filtering.ends_late) == (False, False)


def test_what_tells_nothing_is_given_up() -> None:
    filtering, requests = learned((True, True, False), Behaviour(), trials=100)
    assert not filtering.is_untried
    assert requests < 20


def test_a_filter_is_not_believed_for_what_else_leaves_rows_out() -> None:
    filtering, _ = learned((False, True), Behaviour())
    filtering.leaves_out_others = True
    assert not filtering.comes_first
