"""A run begins only what it was asked for, compared with what is stored under the lock."""

from pathlib import Path
from typing import Any

import pytest

from exporter.contract import DAY, HOUR
from exporter.errors import DestinationError, UsageError
from exporter.log.commits import CommitLog, load_state
from exporter.log.state import Author, State
from exporter.model import Interval
from exporter.pipeline.probe import Opening
from exporter.plan.clock import Now
from exporter.progress import Quiet
from exporter.run.connect import Connection
from exporter.run.context import RunContext
from exporter.run.record import Run
from exporter.run.session import claimed
from exporter.settings import Credentials, Request, RunSettings, Selection
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio
NOON = 1_770_000_000_000_000 // DAY * DAY + 12 * HOUR


def connection(reader: Any = None) -> Connection:
    """Returns the connection of a run that has asked the first questions before anything was stored."""
    context = RunContext(RunSettings(), Credentials("token"), Quiet())
    return Connection(Request(), State(), reader, Opening(now=Now(0.0, NOON)), context)


async def test_it_refuses_what_another_run_has_begun_meanwhile(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await store.prepare()
    other = CommitLog(store, Author(run="r1", host="host", pid=1))
    await other.append(committed_at=0, kind="begin", request=Request(partition_by="hour"), range=Interval(0, NOON))
    made = connection()
    with pytest.raises(DestinationError, match="another run has begun an export here meanwhile"):
        async with claimed(store, Run("export"), made, Selection(), made.latest):
            pass
    assert (await load_state(store)).number == 1


async def test_an_empty_range_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    made = connection()
    assert made.latest == NOON - 60 * 1_000_000
    with pytest.raises(UsageError, match="nothing to export"):
        async with claimed(LocalStore(tmp_path), Run("export"), made, Selection(since=NOON), made.latest):
            pass
    assert not list(tmp_path.iterdir())
