"""Tests that a scan is plain data: it can be sent to another process, with the settings to read it by."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from exporter.contract import BEGINNING, DAY, END_OF_TIME, HIDDEN_STATUS, Instant
from exporter.coverage import Interval
from exporter.encode.batch import Encoder
from exporter.encode.decode import Decoder
from exporter.fetch.walk.rows import Outline
from exporter.model import Page, PageRequest, Rows
from exporter.pipeline.batch_sink import BatchSink
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.progress import Quiet
from exporter.route import Proxy
from exporter.schedule.scheduler import Scheduler
from exporter.settings import RunSettings
from tests.fetch.walk.server_model import Behaviour, ServerModel
from tests.pipeline.harness import ModelSource

RANGE = Interval(0, 3 * DAY)


def test_a_scan_and_its_settings_survive_the_way_to_another_process() -> None:
    scan = Scan(range=RANGE, windows=(Interval(0, DAY),), hidden_status=HIDDEN_STATUS, updated_since=5)
    settings = RunSettings(ca_file=Path("ca.pem"), proxy=Proxy("proxy:3128", "HTTPS_PROXY", "Basic eDp5"), max_rps=2.5)
    assert pickle.loads(pickle.dumps((scan, settings))) == (scan, settings)


def test_only_filtered_requests_are_narrowed_and_never_widened() -> None:
    scan = Scan(range=RANGE, updated_since=DAY)
    assert scan.narrowed(PageRequest(10)).updated_after == DAY
    assert scan.narrowed(PageRequest(10, updated_after=2 * DAY)).updated_after == 2 * DAY
    assert scan.narrowed(PageRequest(10, updated_after=1)).updated_after == DAY
    plain = PageRequest(10, filtered=False)
    assert scan.narrowed(plain) is plain
    assert Scan(range=RANGE).narrowed(PageRequest(10)) == PageRequest(10)


@pytest.mark.anyio
async def test_where_a_list_ends_is_known_for_as_long_as_the_same_one_is_read() -> None:
    source, budget = ModelSource(ServerModel([], Behaviour())), ByteBudget(Shares.of(1 << 29, 1))
    reader = Reader(source, Decoder(None), Quiet(), budget, concurrency=1, max_rps=None)
    traits, below = reader.traits, Interval(0, DAY)
    shown: Page[Any] = Page(Rows([Outline("c0")], [DAY], [None]), 1)

    def learn() -> None:
        traits.note_shown(PageRequest(1), shown)
        traits.proven_end = DAY
        traits.end(below)

    async def known_after(updated_since: Instant | None) -> bool:
        """Reads no window of a list, and returns whether its end is still known."""
        scheduler, settings = Scheduler((), 0, lambda instant: instant), RunSettings(concurrency=1)
        scan, sink = Scan(range=RANGE, updated_since=updated_since), BatchSink(Encoder(None), drop)
        await Pipeline(scan, scheduler, reader, sink, None, settings).run()
        found = traits.lowest, traits.proven_end, traits.assumed_empty(Page(Rows([None], [DAY - 1], [None]), 1))
        assert found in ((DAY, DAY, below), (END_OF_TIME, BEGINNING, None))
        learn()
        return found[2] is not None

    async def drop(_batch: pa.RecordBatch) -> None:
        """Does nothing: nothing is read."""

    learn()
    since = (None, DAY, DAY, 2 * DAY, None, None)
    assert [await known_after(instant) for instant in since] == [True, False, True, False, False, True]
