"""The journal has a line of every run except one that was refused: it ended with 2 or 5 and has committed nothing."""

from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from exporter.contract import DAY
from exporter.coverage import Interval
from exporter.errors import (
    AccessError,
    DestinationError,
    DestinationLockedError,
    ExporterError,
    UsageError,
    WrongBucketError,
)
from exporter.jobs.status import status
from exporter.run.claim import holding
from exporter.run.record import Run, recorded
from exporter.settings import Request
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio


async def end_with(error: ExporterError, store: LocalStore, run: Run, *, commits: bool) -> NoReturn:
    async with holding(store, run) as claim:
        if not claim.log.state.number:
            await claim.log.append(committed_at=0, kind="begin", request=Request(), range=Interval(0, DAY))
        elif commits:
            await claim.log.append(committed_at=0, kind="resume")
        raise error


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("kind", [UsageError, DestinationError, WrongBucketError, DestinationLockedError, AccessError])
async def test_what_has_happened_decides_whether_a_run_was_refused(
    kind: type[ExporterError], commits: bool, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(AccessError):
        await recorded(store, "export", partial(end_with, AccessError("first"), store, commits=True))
    with pytest.raises(kind):
        await recorded(store, "sync", partial(end_with, kind("second"), store, commits=commits))
    has_line = commits or kind is AccessError
    found = await status(tmp_path)
    assert found.unended_run is None
    assert found.last_run is not None
    assert found.last_run.message == ("second" if has_line else "first")
    assert found.last_run.exit_status == (kind.exit_status if has_line else 4)
