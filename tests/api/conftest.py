"""Runs a stand-in server in a loop of its own, so that tests can count what a call leaves in theirs."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from exporter.sandbox import Behaviour, Row, Sandbox, serve

Serving: TypeAlias = Callable[..., Sandbox]


@pytest.fixture(scope="session")
def beside() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def serving(beside: BlockingPortal) -> Iterator[Serving]:
    with ExitStack() as stack:

        def start(rows: Iterable[Row], behaviour: Behaviour | None = None) -> Sandbox:
            return stack.enter_context(beside.wrap_async_context_manager(serve(rows, behaviour)))

        yield start


def only_this_task() -> bool:
    """Returns whether nothing runs in this loop except the test and its runner."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return all("TestRunner" in repr(task.get_coro()) for task in others)
