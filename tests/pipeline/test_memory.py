"""Tests the bytes in flight: they fit into their share, whatever sizes pages have, and no request waits forever."""

import random

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pipeline.memory import ByteBudget, Room, Shares
from exporter.settings import LEAST_MEMORY_BYTES

MIB = 1024 * 1024
#: Room for 28 rows without a byte, or for one of 18432 bytes.
SMALL = Shares(page=18_432, largest_page=18_432, in_flight=2_048 + 3 * 18_432, row_group=MIB)


@pytest.mark.parametrize("memory_bytes", [LEAST_MEMORY_BYTES, 512 * MIB, 4096 * MIB])
@pytest.mark.parametrize("concurrency", [1, 8, 16, 64, 1024])
def test_the_shares_add_up_and_leave_room_for_pages(memory_bytes: int, concurrency: int) -> None:
    shares = Shares.of(memory_bytes, concurrency)
    assert 2 * MIB <= shares.page <= 8 * MIB
    assert shares.page < shares.largest_page
    assert 1 <= shares.row_group <= 16 * MIB
    assert shares.in_flight * 0.99 < shares.cost(1, shares.largest_page) <= shares.in_flight
    assert shares.row_group * concurrency + shares.in_flight <= memory_bytes - 128 * MIB
    # A request for each, as far as there is room for two or three dozen.
    assert shares.in_flight >= shares.cost(0, shares.page) * min(concurrency, 12)


def test_a_huge_page_costs_its_copies() -> None:
    shares = Shares.of(512 * MIB, 8)
    assert shares.cost(1000, 0) == 1000 * 2048
    assert shares.cost(0, shares.page) == 3 * shares.page
    assert shares.cost(0, 2 * shares.page) == 8 * shares.page


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 18_432)), max_size=6), min_size=1, max_size=6),
    st.integers(0, 10**6),
)
def test_what_is_held_stays_below_the_limit(workers: list[list[tuple[int, int]]], seed: int) -> None:
    """Pages that turn out larger than was reserved for them take more room if there is any, or are given up."""
    chance = random.Random(seed)
    budget = ByteBudget(SMALL)

    async def work(pages: list[tuple[int, int]]) -> None:
        for rows, size in pages:
            expected = chance.randint(0, 18_432)
            room = await budget.reserve(rows, expected)
            try:
                for came in (size // 2, size):
                    await checkpoint()
                    if not room.fits(came):
                        break
                else:
                    room.settle(rows, size)
                assert budget._held <= SMALL.in_flight
                for _ in range(chance.randrange(3)):
                    await checkpoint()
            finally:
                room.release()

    async def main() -> None:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for pages in workers:
                    group.start_soon(work, pages)
        assert budget._held == 0

    anyio.run(main)


@pytest.mark.anyio
async def test_a_page_grows_as_far_as_there_is_room() -> None:
    budget = ByteBudget(SMALL)
    others = await budget.reserve(1, 8_000)
    room = await budget.reserve(1, 0)
    assert room.fits(8_000)
    assert not room.fits(9_800)
    assert room.wanted_bytes == 9_800
    others.release()
    assert room.fits(18_432)
    assert not room.fits(18_433)


@pytest.mark.anyio
async def test_what_a_page_did_not_need_is_there_for_others() -> None:
    budget = ByteBudget(SMALL)
    room = await budget.reserve(1, 18_432)
    with anyio.move_on_after(0) as scope:
        await budget.reserve(1, 1_000)
    assert scope.cancelled_caught
    room.settle(1, 1_000)
    with anyio.fail_after(60):
        await budget.reserve(1, 1_000)


@pytest.mark.anyio
async def test_what_needs_much_is_not_overtaken_by_what_needs_little() -> None:
    budget = ByteBudget(SMALL)
    held = await budget.reserve(1, 1_000)
    order: list[str] = []

    async def wait(name: str, size: int) -> None:
        room = await budget.reserve(1, size)
        order.append(name)
        room.release()

    async with anyio.create_task_group() as group:
        group.start_soon(wait, "huge", 18_432)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(wait, "small", 1)
        await anyio.wait_all_tasks_blocked()
        assert order == []
        held.release()
    assert order == ["huge", "small"]


@pytest.mark.anyio
async def test_only_as_much_is_waited_for_as_there_is() -> None:
    budget = ByteBudget(SMALL)
    with anyio.fail_after(60):
        room = await budget.reserve(1000, 10**9)
    assert budget._held == SMALL.in_flight
    assert not room.fits(SMALL.largest_page)


@pytest.mark.anyio
async def test_a_list_of_ids_does_not_wait_for_what_its_own_walk_holds() -> None:
    budget = ByteBudget(SMALL)
    held = await budget.reserve(1, 18_432)
    with anyio.fail_after(60):
        listing = await budget.reserve(1, 100, waits=False)
    assert listing.fits(100)
    listing.release()
    held.release()
    assert budget._held == 0


@pytest.mark.anyio
async def test_giving_up_while_waiting_holds_nothing() -> None:
    budget = ByteBudget(SMALL)
    held = await budget.reserve(1, 18_432)
    async with anyio.create_task_group() as group:
        group.start_soon(budget.reserve, 1, 1)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    held.release()
    with anyio.fail_after(60):
        room: Room = await budget.reserve(1, 18_432)
    room.release()
    assert budget._held == 0
