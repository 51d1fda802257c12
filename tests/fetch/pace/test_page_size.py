"""Tests how many rows a request asks for, and why."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.fetch.pace.page_size import Portions
from exporter.model import Page, PageRequest, Rows

MIB = 1024 * 1024
ROWS = PageRequest(limit=1000)
IDS = PageRequest(limit=1000, ids_only=True)
GROUP = PageRequest(limit=1000, entire=True)


def page_of(rows: int, row_bytes: int, limit: int) -> Page[Any]:
    return Page(Rows(["row"] * rows, [0] * rows, [None] * rows), rows * row_bytes, limit=limit)


def test_pages_are_as_large_as_they_should_be() -> None:
    portions = Portions(8 * MIB, 64 * MIB)
    assert portions.rows(ROWS) == 1000
    portions.came(ROWS, page_of(1000, 30_000, 1000))
    assert portions.rows(ROWS) == 8 * MIB // 30_000
    assert 8_300_000 < portions.expected_bytes(ROWS, portions.rows(ROWS)) < 12_000_000
    portions.came(ROWS, page_of(279, 5_000, 279))
    assert portions.rows(ROWS) == 2 * 279


def test_what_others_have_had_is_where_a_walk_begins() -> None:
    assert Portions(8 * MIB, 64 * MIB, row_bytes=MIB).rows(ROWS) == 8


def test_after_a_page_that_was_given_up_the_rows_come_back_by_doubling() -> None:
    portions = Portions(8 * MIB, 64 * MIB)
    portions.came(ROWS, page_of(1000, 500, 1000))
    asked = [1000]
    while asked[-1] > 1:
        asked.append(portions.fewer(ROWS, asked[-1], 60 * MIB))
    assert asked == [1000, 250, 62, 15, 3, 1]
    assert portions.fewer(ROWS, 1, 60 * MIB) == 1
    # The first is the huge row itself; then small ones come again.
    portions.came(ROWS, page_of(1, 30 * MIB, 1))
    assert portions.rows(ROWS) == 1
    grown = []
    for _ in range(11):
        rows = portions.rows(ROWS)
        grown.append(rows)
        portions.came(ROWS, page_of(rows, 500, rows))
    assert grown == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]


def test_a_group_is_asked_for_with_all_there_is_room_for() -> None:
    portions = Portions(8 * MIB, 64 * MIB)
    portions.came(ROWS, page_of(80, 100 * 1024, 80))
    assert portions.rows(ROWS) == 81
    assert portions.rows(GROUP) == 524
    assert portions.expected_bytes(GROUP, 524) <= 64 * MIB


def test_ids_are_learned_apart_from_rows() -> None:
    portions = Portions(8 * MIB, 64 * MIB)
    portions.came(ROWS, page_of(4, 30 * MIB, 4))
    assert (portions.rows(ROWS), portions.rows(IDS)) == (1, 1000)
    assert portions.expected_bytes(IDS, 1000) < MIB


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 100 * MIB), st.integers(1, 1000), st.integers(0, 10**6))
def test_there_is_always_a_row_to_ask_for_and_never_too_many(target: int, limit: int, seed: int) -> None:
    chance = random.Random(seed)
    portions = Portions(target, 4 * target)
    for _ in range(30):
        request = replace(chance.choice((ROWS, IDS, GROUP)), limit=limit)
        rows = portions.rows(request)
        assert 1 <= rows <= limit
        assert 1 <= portions.expected_bytes(request, rows) <= 4 * target
        if chance.random() < 0.3:
            assert 1 <= portions.fewer(request, rows, chance.randint(1, 4 * target)) <= rows
        else:
            portions.came(request, page_of(chance.randint(0, rows), chance.randint(1, 50 * MIB), rows))
