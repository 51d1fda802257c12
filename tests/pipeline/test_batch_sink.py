"""Tests batches for a consumer in this process: they are bounded by what it takes, and by what fits no column."""

from collections.abc import Sequence

import anyio
import pyarrow as pa
import pytest

from exporter.contract import DAY, SECOND, Instant, format_instant
from exporter.coverage import Interval
from exporter.encode.batch import Encoder
from exporter.encode.decode import Decoder
from exporter.encode.rows import EncodeRow
from exporter.errors import TooLargeError
from exporter.fetch.walk.window import Settled
from exporter.pipeline.batch_sink import BatchSink, Send
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.reader import Reader
from exporter.pipeline.scan import Scan
from exporter.progress import Quiet
from exporter.schedule.scheduler import Scheduler
from exporter.settings import RunSettings
from tests.fetch.walk.server_model import Behaviour, ServerModel, StoredRow
from tests.pipeline.harness import SERVED_AT, ModelSource

pytestmark = pytest.mark.anyio

T0 = 1_770_000_000 * SECOND // DAY * DAY
RANGE = Interval(T0, T0 + 4 * DAY)
ROWS = [StoredRow(f"c{number}", T0 + number * 40 * SECOND, T0, size=100) for number in range(5000)]


def reading(source: ModelSource, send: Send, shares: Shares) -> Pipeline:
    def align(_: Instant) -> Instant:
        return RANGE.start

    return Pipeline(
        Scan(range=RANGE, windows=(RANGE,)),
        Scheduler((RANGE,), RANGE.start, align, 1000),
        Reader(source, Decoder(None), Quiet(), ByteBudget(shares), concurrency=2, max_rps=None),
        BatchSink(Encoder(None), send),
        None,
        RunSettings(concurrency=2),
    )


async def test_nothing_is_requested_that_nobody_takes() -> None:
    """With room for a few pages, the source is not asked for more until the consumer goes on."""
    source, rows = ModelSource(ServerModel(ROWS, Behaviour())), 0
    taken, goes_on = anyio.Event(), anyio.Event()

    async def send(batch: pa.RecordBatch) -> None:
        nonlocal rows
        taken.set()
        await goes_on.wait()
        rows += batch.num_rows

    shares = Shares(page=1 << 14, largest_page=1 << 16, in_flight=1 << 19, row_group=1 << 20)
    async with anyio.create_task_group() as group:
        group.start_soon(reading(source, send, shares).run)
        await taken.wait()
        # This lasts until no more requests come.
        still, seen = 0, -1
        while still < 20:
            await anyio.sleep(0.01)
            still, seen = (still + 1, seen) if len(source.requests) == seen else (0, len(source.requests))
        assert seen < 40
        goes_on.set()
    assert rows == 5000
    assert len(source.requests) > 100


def misfits(count: int) -> Settled[EncodeRow]:
    rows: Sequence[str] = [
        f'{{"id":"{number}","created_at":"{format_instant(T0)}","duration":1.5}}' for number in range(count)
    ]
    return Settled(Decoder(None).decode(f"[{','.join(rows)}]".encode()).page.rows)


async def test_more_misfits_than_memory_should_hold_end_it() -> None:
    async def send(_: pa.RecordBatch) -> None:
        raise AssertionError("nothing fits")

    sink = BatchSink(Encoder(None), send, misfit_bytes=1000)
    writer = sink.open_window(RANGE.end, Scan(range=RANGE))
    await writer.add(misfits(5), T0, SERVED_AT)
    assert len(sink.totals.misfits) == 5
    with pytest.raises(TooLargeError, match=r"rows fit no column, such as .*an export to a destination keeps all"):
        await writer.add(misfits(40), T0, SERVED_AT)
