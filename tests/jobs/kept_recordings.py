"""Keeps recordings of an export as a run does, with made-up audio and without a source."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from exporter.clock import wall_clock
from exporter.contract import Instant
from exporter.encode.tables import Tables
from exporter.lake.follow import write_tables
from exporter.layout import ENCRYPTED
from exporter.log.commits import CommitLog
from exporter.media_cipher import Sealer
from exporter.parts.cipher import Cipher, using
from exporter.pipeline.committer import Committer
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_rows import RecordingRow, RecordingRows
from exporter.progress import Quiet
from exporter.run.record import author_of, new_run
from exporter.settings import Request
from exporter.store.disk import open_private
from exporter.store.local.store import LocalStore


async def keep_rows(root: Path, rows: Mapping[str, tuple[Instant, str, bytes]], cipher: Cipher | None = None) -> None:
    """Keeps `rows`, which give by conversation its `created_at`, the status of its recording, and the audio."""
    with using(cipher):
        await _keep_rows(root, rows, cipher)


async def _keep_rows(root: Path, rows: Mapping[str, tuple[Instant, str, bytes]], cipher: Cipher | None) -> None:
    is_sealed = cipher is not None and cipher.encryption.recordings == "encrypted"
    store, run = LocalStore(root), new_run()
    await store.prepare()
    await store.acquire_lock(run)
    try:
        log = CommitLog(store, author_of(run))
        state = await log.load()
        store.file_mode = state.file_mode
        await log.append(committed_at=wall_clock(), kind="resume")
        stage = PartStage(
            store, Tables.of(state.request or Request()), run, target_part_bytes=1 << 20, row_group_bytes=1 << 20
        )
        committer = Committer(store, log, stage.tables.schemas, Quiet())
        await committer.sweep()
        kept = RecordingRows(log, stage, committer, rows_at_once=3)
        for number, (name, (created_at, status, audio)) in enumerate(rows.items()):
            staged = store.staging_file(f"{run}-audio-{number}")
            if is_sealed and cipher is not None:
                sealer = Sealer(cipher.keys[0])
                audio = sealer.update(audio) + sealer.finish()
            row = RecordingRow(
                conversation_id=name,
                conversation_created_at=created_at,
                status=status,
                fetched_at=created_at,
                attempts=1,
                bytes=len(audio) if status == "stored" else None,
                sha256=hashlib.sha256(audio).hexdigest() if status == "stored" else None,
            )
            if status == "stored":
                descriptor = open_private(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                os.write(descriptor, audio)
                os.close(descriptor)
            await kept.add(row, staged if status == "stored" else None, f"ogg{ENCRYPTED}" if is_sealed else "ogg")
        await kept.finish()
        await write_tables(store, log.state)
    finally:
        await store.release_lock()
