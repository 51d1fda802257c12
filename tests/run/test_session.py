"""A run begins only what was asked for, and leaves nothing if that is nothing."""

from pathlib import Path

import pytest

from exporter.contract import DAY, HOUR
from exporter.errors import UsageError
from exporter.keys import Keys
from exporter.log.privacy import Privacy
from exporter.log.state import State
from exporter.pipeline.admission import Admission
from exporter.pipeline.probe import Opening
from exporter.progress import Quiet
from exporter.run.claim import holding
from exporter.run.connect import Connection
from exporter.run.context import RunContext
from exporter.run.record import Run
from exporter.run.session import begin
from exporter.schedule.clock import Now
from exporter.settings import Credentials, Request, RunSettings, Selection
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio
NOON = 1_770_000_000_000_000 // DAY * DAY + 12 * HOUR


async def test_an_empty_range_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    context = RunContext(RunSettings(), Credentials("token"), Quiet())
    reader: object = None
    admission = Admission.of(Privacy(), Keys())
    made = Connection(Request(), State(), reader, Opening(now=Now(0.0, NOON)), context, admission)  # type: ignore[arg-type]
    assert made.latest == NOON - 60 * 1_000_000
    with pytest.raises(UsageError, match="nothing to export"):
        async with holding(LocalStore(tmp_path / "out"), Run("export")) as claim:
            await begin(claim, made, Selection(since=NOON), made.latest)
    assert not list(tmp_path.iterdir())
