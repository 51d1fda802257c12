"""Runs a pipeline on a modelled server and a real directory, and reads what it has stored."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf
from pathlib import Path
from types import SimpleNamespace

import anyio
import pyarrow.parquet as pq
import pytest
from anyio.lowlevel import checkpoint

from exporter.contract import Instant, TimestampStyle, format_instant, parse_timestamp
from exporter.coverage import Interval
from exporter.encode.decode import Decoder
from exporter.encode.tables import Tables
from exporter.errors import RequestRefusedError, TooLargeError
from exporter.fetch.wire.answer import Answer, Presence
from exporter.layout import CONVERSATIONS
from exporter.log.commits import CommitLog
from exporter.log.publish import find_garbage
from exporter.log.state import Author, State
from exporter.model import PageRequest
from exporter.partitions import partition_of
from exporter.pipeline import attempts, turns
from exporter.pipeline import reader as reader_module
from exporter.pipeline.committer import Committer
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.part_sink import PartSink
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import Guard
from exporter.pipeline.scan import Scan
from exporter.progress import Observer, Quiet
from exporter.schedule.scheduler import Scheduler
from exporter.settings import PartitionBy, Request, RunSettings
from exporter.store.local.store import LocalStore
from exporter.tasks import alongside
from tests.fetch.walk.server_model import ServerModel, StoredRow

#: JSON characters for a unit of a modelled row's size. The model's rows of ids weigh 50, which is 200 characters.
_CHARACTERS = 4

SERVED_AT = 1_780_000_000_000_000


def row_text(server: ServerModel, row: StoredRow) -> str:
    """Returns a row as JSON, long enough for every limit of the model to weigh it as the walk does."""
    document: dict[str, object] = {"id": row.id, "created_at": format_instant(server.served(row.created_at))}
    if row.updated_at is not None:
        document["updated_at"] = format_instant(row.updated_at)
    return json.dumps(document | {"status": row.status}, separators=(",", ":"))


class ModelSource:
    """Answers from a model. `before` is called with the number of each request, from 1, and may raise."""

    def __init__(self, server: ServerModel, before: Callable[[int], None] = lambda _: None) -> None:
        self.style = TimestampStyle()
        self.is_reached = True
        self.server = server
        self.before = before
        self.requests: list[PageRequest] = []
        self.odd: frozenset[str] = frozenset()

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        self.requests.append(request)
        self.before(len(self.requests))
        page = self.server.answer(request)
        texts = []
        for row in page.rows.rows:
            text = row_text(self.server, row)
            if row.id in self.odd:
                text = text.replace('"completed"', "7")
            # With its comma or bracket, so that a page weighs as its rows do.
            texts.append(text.ljust(_CHARACTERS * (50 if request.ids_only else row.size) - 1))
        body = f"[{','.join(texts)}]".encode()
        if not fits(len(body)):
            raise TooLargeError("too much for memory")
        return Answer(body, SERVED_AT)

    async def look_up(self, identity: str) -> Presence:
        return Presence(any(row.id == identity for row in self.server.rows))

    async def get_object(
        self, path: str, parameters: Mapping[str, str], fits: Callable[[int], bool]
    ) -> Answer | Presence:
        return Presence(is_known=False)

    async def get_one(self, identity: str, fits: Callable[[int], bool]) -> Answer:
        for row in self.server.rows:
            if row.id == identity:
                return Answer(row_text(self.server, row).encode(), SERVED_AT)
        raise RequestRefusedError("404")


class Clock:
    """Counts seconds that pass when a test says so, and `tick` at every look."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now = 0.0
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def take_over(self, patch: pytest.MonkeyPatch) -> None:
        """Makes whatever a `Reader` waits for move this clock on without taking time, and decoding take no time."""

        async def sleep(seconds: float) -> None:
            self.now += seconds
            await checkpoint()

        def move_on_after(seconds: float) -> anyio.CancelScope:
            if seconds == inf:
                return anyio.CancelScope()
            self.now += seconds
            return anyio.move_on_after(0)

        async def run_sync(decode: Callable[[bytes], object], body: bytes, limiter: object) -> object:
            await checkpoint()
            return decode(body)

        parts = {"sleep": sleep, "move_on_after": move_on_after, "Lock": anyio.Lock, "Event": anyio.Event}
        for module in (turns, attempts):
            patch.setattr(module, "anyio", SimpleNamespace(**parts))
        patch.setattr(reader_module, "to_thread", SimpleNamespace(run_sync=run_sync))


@dataclass
class Destination:
    """Holds an export of `range_` at `root`, through as many runs as it takes."""

    root: Path
    range_: Interval
    partition_by: PartitionBy = "day"
    page_size: int = 1000
    concurrency: int = 4
    target_part_bytes: int = 1 << 30
    hidden_status: str | None = None
    shares: Shares = field(default_factory=lambda: Shares.of(1 << 29, 8))
    max_rps: float | None = None
    report_seconds: float = 1.0
    together_seconds: float = 0.0
    observer: Observer = field(default_factory=Quiet)
    make_store: Callable[[Path], LocalStore] = LocalStore
    clock: Callable[[], float] = field(default_factory=lambda: Clock(0.001))
    reader_clock: Callable[[], float] = time.monotonic
    runs: "count[int]" = field(default_factory=lambda: count(1))
    state: State = field(default_factory=State)

    async def run(self, source: ModelSource, started: Callable[[Pipeline], None] = lambda _: None) -> Pipeline:
        """Runs once, to the end or to the error that ends it; `started` gets the pipeline first."""
        store = self.make_store(self.root)
        await store.prepare()
        run = f"run{next(self.runs)}"
        log = CommitLog(store, Author(run=run, host="host", pid=1))
        await log.load()
        if log.state.range is None:
            request = Request(partition_by=self.partition_by)
            await log.append(committed_at=SERVED_AT, kind="begin", request=request, range=self.range_)
        for path in await find_garbage(store, log.state):
            await store.delete(path)
        observer, tables = self.observer, Tables.of(Request(partition_by=self.partition_by))
        left = log.state.left.intervals

        def align(instant: Instant) -> Instant:
            _, interval = partition_of(instant, self.partition_by)
            return self.range_.start if interval is None else interval.start

        stage = PartStage(
            store,
            tables,
            run,
            target_part_bytes=self.target_part_bytes,
            row_group_bytes=self.shares.row_group,
            clock=self.clock,
        )
        reader = Reader(
            source,
            Decoder(None),
            observer,
            ByteBudget(self.shares),
            concurrency=self.concurrency,
            max_rps=self.max_rps,
            clock=self.reader_clock,
        )
        pipeline = Pipeline(
            Scan(range=self.range_, windows=left, hidden_status=self.hidden_status),
            Scheduler(left, self.range_.start, align, self.page_size),
            reader,
            PartSink(stage, Guard()),
            Committer(store, log, tables.schemas, observer),
            RunSettings(concurrency=self.concurrency, page_size=self.page_size),
            together_seconds=self.together_seconds,
        )
        started(pipeline)
        async with alongside(partial(reader.report.repeat, self.report_seconds)):
            await pipeline.run()
        return pipeline

    async def load(self) -> State:
        log = CommitLog(LocalStore(self.root), Author(run="reader", host="host", pid=1))
        self.state = await log.load()
        return self.state

    def rows(self) -> list[tuple[str, Instant]]:
        """Returns id and `created_at` of every committed row, after checking each file against the log."""
        rows: list[tuple[str, Instant]] = []
        for file in self.state.files.values():
            data = (self.root / file.path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size_bytes, file.sha256)
            table = pq.ParquetFile(self.root / file.path).read(["id", "created_at"])
            times = table.column("created_at").cast("int64").to_pylist()
            assert len(times) == file.rows
            assert times == sorted(times, reverse=True)
            assert (times[0], times[-1]) == (file.created_at_max, file.created_at_min)
            assert file.table == CONVERSATIONS
            assert all(partition_of(time, self.partition_by)[0] == file.partition for time in times)
            rows += zip(table.column("id").to_pylist(), times, strict=True)
        return rows

    def quarantined(self) -> list[str]:
        """Returns the ids of the rows in quarantine."""
        return [json.loads(line["row"])["id"] for line in self._quarantine_lines()]

    def quarantined_times(self) -> set[Instant]:
        """Returns the times by which the rows in quarantine were placed."""
        return {parse_timestamp(line["created_at"]) for line in self._quarantine_lines()}

    def _quarantine_lines(self) -> list[dict[str, str]]:
        lines = []
        for file in self.state.quarantine.values():
            data = (self.root / file.path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size_bytes, file.sha256)
            found = [json.loads(line) for line in data.splitlines()]
            assert len(found) == file.rows
            lines += found
        return lines


def check_exact(destination: Destination, server: ServerModel) -> None:
    """Checks that every row that the log covers is stored once, except those whose timestamp is named as unproven."""
    state = destination.state
    served = ((row.id, server.served(row.created_at)) for row in server.rows if row.matches)
    expected = Counter(row for row in served if any(row[1] in covered for covered in state.coverage))
    found = Counter(destination.rows())
    doubted = {doubt.created_at for doubt in state.unproven}
    assert not [row for row, times in found.items() if times > 1]
    assert not found - expected
    assert not [row for row in expected - found if row[1] not in doubted]
