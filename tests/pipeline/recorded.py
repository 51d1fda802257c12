"""Makes an export with conversations, and rows of recordings with made-up audio."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from exporter.contract import DAY, HOUR, Instant
from exporter.coverage import Interval
from exporter.encode.recordings import url_hash
from exporter.encode.tables import Tables
from exporter.layout import MEDIA
from exporter.log.commits import CommitLog
from exporter.log.state import Author, State
from exporter.model import Change, DataFile
from exporter.pipeline.committer import Committer
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_rows import RecordingRow, RecordingRows
from exporter.progress import Quiet
from exporter.settings import Request
from exporter.store.local.store import LocalStore

T0 = 20_000 * DAY
RANGE = Interval(T0, T0 + 4 * DAY)
FIELDS = ("id", "status", "created_at", "updated_at", "recording_details")

_numbers = count(1)


def details(url: str = "https://host.example.com/one", duration: float = 3.5) -> str:
    return f'{{"recording_url": "{url}?signature=secret", "duration": {duration}}}'


def conversation(name: str, created_at: Instant, recording: str | None, status: str = "completed") -> dict[str, Any]:
    return {
        "id": name,
        "status": status,
        "created_at": created_at,
        "updated_at": created_at,
        "recording_details": recording,
        "extra": None,
    }


def stored_row(
    name: str, created_at: Instant, status: str, url: str = "https://host.example.com/one", duration: float = 3.5
) -> RecordingRow:
    return RecordingRow(
        conversation_id=name,
        conversation_created_at=created_at,
        status=status,
        fetched_at=created_at + HOUR,
        attempts=1,
        duration=duration,
        url_hash=url_hash(url),
    )


class Recorded:
    """Is a run on an export whose range is covered."""

    def __init__(self, store: LocalStore, clock: Callable[[], float], request: Request) -> None:
        run = f"run{next(_numbers)}"
        self.store = store
        self.log = CommitLog(store, Author(run=run, host="host", pid=1))
        self.stage = PartStage(store, Tables.of(request), run, target_part_bytes=1 << 20, row_group_bytes=1 << 20)
        self.committer = Committer(store, self.log, self.stage.tables.schemas, Quiet(), clock)
        self.rows = RecordingRows(self.log, self.stage, self.committer, clock, rows_at_once=5)

    @classmethod
    async def open(
        cls,
        store: LocalStore,
        clock: Callable[[], float] = lambda: 0.0,
        *,
        partition_by: Any = "day",
        fields: tuple[str, ...] = FIELDS,
    ) -> Self:
        request = Request(fields=fields, partition_by=partition_by)
        self = cls(store, clock, request)
        await store.prepare()
        if not (await self.log.load()).number:
            await self.log.append(committed_at=10, kind="begin", request=request, range=RANGE)
            await self.log.append(committed_at=11, change=Change(covers=(RANGE,), read_since=5))
        await self.committer.sweep()
        return self

    @property
    def state(self) -> State:
        return self.log.state

    async def hold(self, *conversations: dict[str, Any]) -> DataFile:
        """Adds a part of conversations, which are of one partition."""
        ordered = sorted(conversations, key=lambda one: -one["created_at"])
        writer = self.stage.new_part()
        schema = self.stage.tables.encoder.schema
        writer.write(pa.RecordBatch.from_pylist(ordered, schema=schema))
        times = [one["created_at"] for one in ordered]
        partition = self.stage.tables.place(times[0])[0]
        parts = writer.close().closed(partition, Interval(times[-1], times[0] + 1), {}, 0)
        (file,) = await self.stage.publish(parts)
        await self.committer.commit(Change(adds=(file,)), kind="sync")
        return file

    async def add(self, name: str, created_at: Instant, status: str = "stored", audio: bytes | None = None) -> None:
        audio = name.encode() if audio is None else audio
        row = stored_row(name, created_at, status)
        if status != "stored":
            await self.rows.add(row)
            return
        staged = self.store.staging_file(f"audio-{next(_numbers)}")
        staged.write_bytes(audio)
        sha256 = hashlib.sha256(audio).hexdigest()
        await self.rows.add(msgspec.structs.replace(row, bytes=len(audio), sha256=sha256), staged, "mp3")


def table_of(root: Path, state: State) -> list[dict[str, Any]]:
    """Returns the rows of recordings, after checking each part against what the log says of it."""
    rows: list[dict[str, Any]] = []
    for file in state.recordings:
        data = (root / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size_bytes, file.sha256)
        part = pq.ParquetFile(root / file.path).read().to_pylist()
        times = [row["conversation_created_at"] for row in part]
        assert times == sorted(times, reverse=True)
        assert file.rows == len(part)
        assert file.statuses == {status: [row["status"] for row in part].count(status) for status in file.statuses}
        sizes = {row["path"]: row["bytes"] for row in part if row["path"]}
        assert (file.media_files, file.media_bytes) == (len(sizes), sum(sizes.values()))
        rows += part
    return rows


def statuses_of(root: Path, state: State) -> dict[str, str]:
    rows = table_of(root, state)
    assert len({row["conversation_id"] for row in rows}) == len(rows)
    return {row["conversation_id"]: row["status"] for row in rows}


def media_there(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in (root / MEDIA).rglob("*") if path.is_file()}


def check_media(root: Path, state: State, *, is_swept: bool = True) -> None:
    """Checks that what each row names is there with its bytes and, if it `is_swept`, that nothing else is."""
    named: Sequence[dict[str, Any]] = [row for row in table_of(root, state) if row["path"]]
    for row in named:
        data = (root / row["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
    assert all((row["path"] is not None) == (row["status"] == "stored") for row in table_of(root, state))
    if is_swept:
        assert media_there(root) == {row["path"] for row in named}
