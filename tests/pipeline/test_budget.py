"""Bytes in flight: never more than the limit but by what nobody could know, and nobody waits for ever."""

import random

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pipeline.budget import ByteBudget


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 1000),
    st.lists(st.lists(st.integers(0, 1200), max_size=6), min_size=1, max_size=6),
    st.integers(0, 10**6),
)
def test_what_is_held_stays_below_the_limit(limit: int, workers: list[list[int]], seed: int) -> None:
    """Once the largest page is known, the limit holds, except for a page that is larger than it and then alone."""
    chance = random.Random(seed)
    budget = ByteBudget(limit)
    held: dict[int, int] = {}
    largest = max((size for pages in workers for size in pages), default=0)

    async def work(number: int, pages: list[int]) -> None:
        for page in pages:
            held[number] = await budget.reserve()
            assert sum(held.values()) <= limit or [size for size in held.values() if size] == [largest]
            for _ in range(chance.randrange(3)):
                await checkpoint()
            held[number] = budget.adjust(held[number], page)
            assert held[number] == page
            for _ in range(chance.randrange(3)):
                await checkpoint()
            budget.release(held.pop(number))

    async def main() -> None:
        with anyio.fail_after(20):
            await work(0, [largest])
            async with anyio.create_task_group() as group:
                for number, pages in enumerate(workers):
                    group.start_soon(work, number, pages)
        assert not held
        # Nothing has leaked: there is room for a page of the limit's size.
        assert budget._held == 0

    anyio.run(main)


@pytest.mark.anyio
async def test_the_largest_page_so_far_is_reserved() -> None:
    budget = ByteBudget(100)
    budget.adjust(await budget.reserve(), 40)
    assert await budget.reserve() == 40
    waiting = True

    async def wait() -> None:
        nonlocal waiting
        assert await budget.reserve() == 40
        waiting = False

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert waiting
        budget.release(40)
    assert not waiting


@pytest.mark.anyio
async def test_a_page_larger_than_the_limit_goes_alone() -> None:
    budget = ByteBudget(100)
    held = budget.adjust(await budget.reserve(), 500)
    with anyio.move_on_after(0) as scope:
        await budget.reserve()
    assert scope.cancelled_caught
    budget.release(held)
    with anyio.fail_after(5):
        assert await budget.reserve() == 500


@pytest.mark.anyio
async def test_giving_up_while_waiting_holds_nothing() -> None:
    budget = ByteBudget(10)
    held = budget.adjust(await budget.reserve(), 10)
    async with anyio.create_task_group() as group:
        group.start_soon(budget.reserve)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    budget.release(held)
    with anyio.fail_after(5):
        assert await budget.reserve() == 10
