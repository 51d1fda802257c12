"""Gives an export recordings without any network: rows, and media made up from a text.

Everything here blocks, and may also be called where an event loop runs.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import pyarrow as pa
import pyarrow.parquet as pq

from exporter.contract import SECOND, Instant
from exporter.encode.tables import Tables
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.pipeline.committer import Committer
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_rows import RecordingRow, RecordingRows
from exporter.progress import Quiet
from exporter.run.claim import Claim, holding
from exporter.run.record import Run, recorded
from exporter.settings import RunSettings
from exporter.store.disk import fsync, open_private
from exporter.store.local.store import LocalStore

FETCHED_AT: Final = 1_780_000_000 * SECOND


def conversations(root: Path) -> dict[str, Instant]:
    """Returns when the conversations of an export were created, by id, from old to new."""
    return ids_and_times(root, state_of(root))


def ids_and_times(root: Path, state: State) -> dict[str, Instant]:
    """Does what `conversations` does, for a state that is known."""
    found: dict[str, Instant] = {}
    for file in state.conversations:
        rows = pq.ParquetFile(root / file.path).read(["id", "created_at"])
        found |= dict(zip(rows["id"].to_pylist(), rows["created_at"].cast(pa.int64()).to_pylist(), strict=True))
    return dict(sorted(found.items(), key=lambda one: one[1]))


def state_of(root: Path) -> State:
    state: State = _run(partial(load_state, LocalStore(root)))
    return state


def _run(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, work).result()


def audio(name: str) -> bytes:
    """Returns the recording of this name."""
    return b"OggS" + hashlib.sha256(name.encode()).digest() * 20


def row_of(identity: str, created_at: Instant, name: str | None = "", **more: Any) -> RecordingRow:
    """Returns a row with the recording of this `name`, by default the conversation's own; None: it is not stored."""
    if name is not None:
        data = audio(name or identity)
        known = {"status": "stored", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        more = {**known, "content_type": "audio/ogg", "duration": 1.5, **more}
    return RecordingRow(
        **{
            "conversation_id": identity,
            "conversation_created_at": created_at,
            "status": "failed",
            "fetched_at": FETCHED_AT,
            "attempts": 1,
            **more,
        }
    )


async def add_rows(claim: Claim, rows: Sequence[tuple[RecordingRow, str | None]], *, joins: bool = True) -> None:
    """Adds rows under a claim; beside each stands the name of its recording, or None."""
    store, log, request = claim.store, claim.log, claim.log.state.request
    assert request is not None
    tables, settings, clock = Tables.of(request), RunSettings(), lambda: 0.0
    committer = Committer(store, log, tables.schemas, Quiet(), clock)
    stage = PartStage.of(store, tables, claim.run, settings, clock)
    keeping = RecordingRows(log, stage, committer, clock)
    for row, name in rows:
        staged = None
        if name is not None:
            staged = store.staging_file(f"{claim.run}-audio")
            with os.fdopen(open_private(staged, os.O_WRONLY | os.O_CREAT), "wb") as file:
                file.write(audio(name or row.conversation_id))
                file.flush()
                fsync(file.fileno())
        await keeping.add(row, staged, "ogg")
    if joins:
        await keeping.finish()
    else:
        await keeping.commit()
        await committer.write_manifest()


def record(root: Path, names: Mapping[str, str | None], *, joins: bool = True, **more: Any) -> None:
    """Adds a row for each id; its value is the name of the recording, empty for one of its own, None for none."""
    times = conversations(root)
    rows = [(row_of(identity, times[identity], name, **more), name) for identity, name in names.items()]
    with_claim(root, lambda claim: add_rows(claim, rows, joins=joins))


class Done:
    exit_status = 0


def with_claim(root: Path, work: Callable[[Claim], Any]) -> None:
    """Does `work` in a run that holds the export."""

    async def do(run: Run) -> Done:
        async with holding(store, run) as claim:
            await claim.log.append(committed_at=FETCHED_AT, kind="resume")
            await work(claim)
        return Done()

    store = LocalStore(root)
    _run(partial(recorded, store, "sync", do))


def recordings(root: Path) -> dict[str, dict[str, Any]]:
    """Returns the live rows of recordings by id; no id may be there twice."""
    rows = [row for file in state_of(root).recordings for row in pq.ParquetFile(root / file.path).read().to_pylist()]
    found = {row["conversation_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def media(root: Path) -> set[str]:
    """Returns the paths of all files below `media`."""
    return {path.relative_to(root).as_posix() for path in (root / "media").rglob("*") if path.is_file()}


def check_media(root: Path) -> None:
    """Checks that the media is what the rows name, to the byte, and nothing else."""
    rows = [row for row in recordings(root).values() if row["status"] == "stored"]
    assert media(root) == {row["path"] for row in rows}
    for row in rows:
        data = (root / row["path"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (row["sha256"], row["bytes"])
