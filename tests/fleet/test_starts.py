"""Tests a fleet on a machine that has room for fewer processes at once than it was told to run."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.fleet.child import Job
from exporter.fleet.fleet import Fleet
from tests.fleet.driver import Printer

pytestmark = pytest.mark.anyio
#: To start a process takes nine for a moment, of which it keeps three or four.
ROOM = 13


@contextmanager
def room_for(files: int) -> Iterator[None]:
    """Lets this process open so many files more, and no further ones."""
    used = {int(each.name) for each in Path("/dev/fd").iterdir()}
    limit = next(most for most in range(1, 10_000) if most - sum(each < most for each in used) == files)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_what_finds_no_room_to_start_does_once_another_has_ended() -> None:
    jobs = [Job(f"e{number}", ("version",)) for number in range(4)]
    with room_for(ROOM):
        outcomes = await Fleet(jobs, len(jobs), Printer(), os.environ).run()
    # No such process says what an export says in the end.
    assert [each.reason for each in outcomes] == ["ended with status 0, and without its result"] * 4


async def test_where_no_process_can_be_started_each_says_so() -> None:
    with room_for(2):
        (outcome,) = await Fleet([Job("e", ("version",))], 1, Printer(), os.environ).run()
    assert (outcome.ending, outcome.exit_status) == ("not started", 1)
    assert "too many open files. Lower --jobs" in str(outcome.reason)
