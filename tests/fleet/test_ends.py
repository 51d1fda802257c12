"""Tests how a fleet ends when it is told to, and when it is killed: no child is left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import TOKEN, Behaviour, make_conversations, serve
from tests.fleet import driver
from tests.toolkit.processes import ends

pytestmark = pytest.mark.anyio
UNTIL = parse_timestamp("2026-02-10T00:00:00Z")
#: No answer comes before a test has ended what waits for it.
NEVER = Behaviour(latency=300.0)


@asynccontextmanager
async def fleet(tmp_path: Path, count: int) -> AsyncIterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """Yields the process of a fleet, two of whose exports wait for an answer, and the numbers of their processes."""
    options = ("--page-size", "10", "--json-lines", "--progress", "none", "--log-format", "json")
    jobs = [(f"e{n}", ("export", *options, "--", str(tmp_path / f"e{n}"))) for n in range(count)]
    asked = anyio.Event()
    async with serve(make_conversations(50, UNTIL - DAY, UNTIL), NEVER) as sandbox:
        sandbox.on_request = lambda _: asked.set() if sandbox.count >= 2 else None
        environment = {**os.environ, "ANYREACH_BASE_URL": sandbox.url, "ANYREACH_TOKEN": TOKEN}
        process = subprocess.Popen(  # noqa: ASYNC220 - the test itself waits for it in a thread
            [sys.executable, str(driver.__file__), *map(json.dumps, jobs)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        with process:
            try:
                with anyio.fail_after(60):
                    await asked.wait()
                    lines = [await to_thread.run_sync(_line, process) for _ in range(2)]
                yield process, {str(name): int(number) for name, number in lines}
            finally:
                process.kill()


def _line(process: subprocess.Popen[str]) -> list[Any]:
    assert process.stdout is not None
    found = json.loads(process.stdout.readline())
    assert isinstance(found, list)
    return found


async def endings(process: subprocess.Popen[str]) -> dict[object, object]:
    """Returns how each export has ended, once the fleet has."""
    told, _ = await to_thread.run_sync(process.communicate)
    return {name: ending for name, ending, _ in map(json.loads, told.splitlines())}


async def test_a_signal_ends_all_in_good_order_and_starts_no_more(tmp_path: Path) -> None:
    async with fleet(tmp_path, 3) as (process, children):
        process.send_signal(signal.SIGINT)
        assert await endings(process) == {"e0": "interrupted", "e1": "interrupted", "e2": "not started"}
        assert process.returncode == 0
        assert all(map(ends, children.values()))


async def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    async with fleet(tmp_path, 2) as (process, children):
        # A process that is stopped cannot end in good order.
        for child in children.values():
            os.kill(child, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert await endings(process) == {"e0": "interrupted", "e1": "interrupted"}
        assert all(map(ends, children.values()))


async def test_no_child_outlives_a_fleet_that_is_killed(tmp_path: Path) -> None:
    async with fleet(tmp_path, 2) as (process, children):
        process.kill()
        gone = [await to_thread.run_sync(ends, child) for child in children.values()]
        assert gone == [True, True]
