"""Encrypts the media of stored recordings: for the first time, or for another data key.

What encrypts a media file follows from the data key, so another data key needs another file. New media is published,
then a part that names it; the caller commits that part in place of the old one. So a part in the log has all of its
media under one key, a killed process leaves nothing but garbage to sweep, and the same work again goes on with the
parts that are left. Audio is in memory alone on its way from one file to the other.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from anyio import to_thread

from exporter.encode.recordings import RecordingRow
from exporter.keys import Key
from exporter.layout import ENCRYPTED, media_extension, media_path
from exporter.media_cipher import Sealer
from exporter.model import DataFile, ExportFile
from exporter.parts.integrity import as_written, opened
from exporter.parts.media import audio_in, is_sealed_with
from exporter.pipeline.free_space import check_free_space
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.recording_parts import publish_recordings, rows_in
from exporter.store.disk import fsync, open_private, reporting
from exporter.tasks import for_each

#: Most media is small, and waits for the store.
_AT_ONCE: Final = 4


async def reseal(stage: PartStage, file: DataFile, key: Key, *older: Key) -> DataFile:
    """Publishes the media of a part of recordings encrypted with `key`, and the part that names it, which it returns.

    The caller commits it in place of `file`, and sweeps the media that no row names any longer. The media may be as it
    was served, or encrypted with one of the `older` keys. Raises `StoreError`, such as `DamagedPartError` for media
    that is damaged and `UnreadablePartError` for media of a key that is not given.
    """
    async with opened(stage.store, file) as part:
        rows = await to_thread.run_sync(rows_in, part, limiter=stage.working)
    done: dict[str | None, ExportFile] = {}

    async def work(media: ExportFile) -> None:
        done[media.path] = await _resealed(stage, file, media, key, *older)

    await for_each(_media_of(rows), work, at_once=_AT_ONCE)
    newer = [row if (media := done.get(row.path)) is None else _naming(row, media) for row in rows]
    return await publish_recordings(stage, file.partition, (), newer)


def _media_of(rows: list[RecordingRow]) -> list[ExportFile]:
    named = {}
    for row in rows:
        if row.path is not None and row.bytes is not None and row.sha256 is not None:
            named[row.path] = ExportFile(path=row.path, rows=0, size_bytes=row.bytes, sha256=row.sha256)
    return list(named.values())


def _naming(row: RecordingRow, media: ExportFile) -> RecordingRow:
    return msgspec.structs.replace(row, path=media.path, bytes=media.size_bytes, sha256=media.sha256)


async def _resealed(stage: PartStage, part: DataFile, media: ExportFile, key: Key, *older: Key) -> ExportFile:
    """Publishes what takes the place of media, unless it is as it should be, and returns it."""
    store = stage.store
    await check_free_space(store)
    async with as_written(store, media, stage.working) as source:
        if await to_thread.run_sync(is_sealed_with, source, media.path, key):
            return media
        staged = store.staging_file(f"{stage.next_name()}-media")
        audio = audio_in(source, media.path, store.location, *older)
        size_bytes, sha256 = await to_thread.run_sync(_seal, audio, staged, key, limiter=stage.working)
    path = media_path(part.partition, sha256, media_extension(media.path).removesuffix(ENCRYPTED) + ENCRYPTED)
    await store.publish_media(staged, path)
    return ExportFile(path=path, rows=0, size_bytes=size_bytes, sha256=sha256)


def _seal(audio: Iterator[bytes | memoryview], staged: Path, key: Key) -> tuple[int, str]:
    """Writes audio to a file, encrypted, and returns the size of that and its sha256."""
    sealer, digest, size_bytes = Sealer(key), hashlib.sha256(), 0
    try:
        with reporting(staged), os.fdopen(open_private(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:

            def put(sealed: bytes) -> None:
                nonlocal size_bytes
                file.write(sealed)
                digest.update(sealed)
                size_bytes += len(sealed)

            for chunk in audio:
                put(sealer.update(chunk))
            put(sealer.finish())
            file.flush()
            fsync(file.fileno())
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return size_bytes, digest.hexdigest()
