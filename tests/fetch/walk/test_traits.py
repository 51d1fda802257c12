"""Tests what a run learns of its server from single answers."""

import pytest

from exporter.contract import DAY, Instant
from exporter.fetch.walk.traits import Traits
from exporter.model import Page, PageRequest
from tests.fetch.walk.server_model import T0, Behaviour, ServerModel, StoredRow

#: More than a server may answer one after another, of one row each, though more were asked for.
MANY = 100


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_server_shows_one_row_a_page_unless_the_row_below_has_gone(*, is_deleted: bool) -> None:
    rows = [StoredRow("high", T0 + DAY), StoredRow("low", T0)]
    traits, server = Traits(), ServerModel(rows, Behaviour())

    def ask(before: Instant, limit: int = 1000) -> Page[StoredRow]:
        request = PageRequest(limit, created_before=before, before_cursor=before + 1, ids_only=True)
        page = server.answer(request)
        traits.observe(request, page)
        return page

    assert len(ask(T0 + DAY)) == 2
    if is_deleted:
        server.rows = rows[:1]
    else:
        server.behaviour = Behaviour(page_cap=1)
    for _ in range(MANY):
        assert len(ask(T0 + DAY)) == 1
        assert len(ask(T0)) == (not is_deleted)
        # Nothing lies there, whatever the server shows.
        assert not ask(T0 - 1)
    assert traits.shows_one_row is not is_deleted
