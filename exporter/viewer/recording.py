"""Finds the recording of a conversation, and gives any part of its audio wherever it lies, decrypted if need be."""

import hashlib
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, BinaryIO, Final, NamedTuple, cast

from anyio import to_thread

from exporter.errors import DamagedPartError, ExporterError, StoreError, UnreadableFileError
from exporter.layout import ENCRYPTED, RECORDINGS, is_encrypted, is_media, media_extension
from exporter.media_cipher import Unsealer, key_name_of
from exporter.store.location import shell_word
from exporter.viewer.export import Export
from exporter.viewer.no_answer import NoAnswerError

#: The types of audio by extension, which the exporter chose; never what a host said.
_TYPES: Final = {
    "3gp": "audio/3gpp",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "amr": "audio/amr",
    "au": "audio/basic",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
}
_UNKNOWN: Final = "application/octet-stream"
#: Audio up to this size is compared with what was written before any of it is played. Encrypted audio always is.
_COMPARED_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024
_REASONS: Final = {
    "gone": "the source no longer has it",
    "expired": "its link had expired",
    "failed": "it could not be fetched yet",
    "refused": "it was refused",
}


class Recording(NamedTuple):
    """Says what became of a recording, as its table does. `bytes` is the size of its file."""

    status: str
    reason: str | None
    path: str | None
    bytes: int | None
    sha256: str | None
    duration: float | None


class Audio:
    """Gives the audio of one file: `size` bytes of `content_type`, named by `tag`. Blocking code."""

    def __init__(self, file: BinaryIO, size: int, content_type: str, tag: str, unsealer: Unsealer | None) -> None:
        self._file = file
        self.size: Final = size
        self.content_type: Final = content_type
        self.tag: Final = tag
        self._unsealer = unsealer

    def read(self, part: range) -> Iterator[bytes]:
        """Yields these bytes. Raises `DamagedPartError`, and `OSError`."""
        if self._unsealer is not None:
            yield from self._unsealer.read(part.start, part.stop)
            return
        self._file.seek(part.start)
        left = len(part)
        while left and (chunk := self._file.read(min(left, _CHUNK_BYTES))):
            yield chunk
            left -= len(chunk)

    def close(self) -> None:
        self._file.close()


async def find_recording(export: Export, identity: str) -> Recording | None:
    """Returns the recording of a conversation; None if there is none. Raises `NoAnswerError`, and as `Export.ask`."""
    # Also where there are no recordings, so that an unknown id is called that.
    await export.created_at(identity)
    if RECORDINGS not in export.query.tables:
        return None
    where = await export.about(RECORDINGS, identity)
    found = await export.ask(
        f"SELECT {', '.join(Recording._fields)} FROM {RECORDINGS} WHERE {where}",  # noqa: S608 - names of columns
        where.values,
    )
    return Recording(**found[0]) if found else None


async def describe_recording(export: Export, recording: Recording) -> dict[str, Any]:
    """Returns what a page shows of a recording, or why it cannot be played."""
    if not is_kept(recording):
        return {"missing": _why(recording), "status": recording.status}
    try:
        audio = await to_thread.run_sync(open_audio, export, recording)
    except ExporterError as error:
        return {"missing": str(error), "status": recording.status}
    audio.close()
    is_known = audio.content_type != _UNKNOWN
    return {
        "type": audio.content_type,
        "bytes": audio.size,
        "duration_seconds": recording.duration,
        "is_playable": is_known,
        "note": None if is_known else "Its host named no known type of audio, so it may not play here",
    }


def is_kept(recording: Recording) -> bool:
    return recording.status == "stored" and recording.bytes is not None and is_media(recording.path or "")


def check_kept(recording: Recording | None) -> Recording:
    """Returns a recording whose audio is kept. Raises `NoAnswerError` for any other."""
    if recording is None:
        raise NoAnswerError("the export holds no recording of this conversation", 404)
    if not is_kept(recording):
        raise NoAnswerError(f"the recording is not kept: {_why(recording)}", 404)
    return recording


def _why(recording: Recording) -> str:
    said = _REASONS.get(recording.status, recording.status)
    return f"{said} ({recording.reason})" if recording.reason else said


def open_audio(export: Export, recording: Recording) -> Audio:
    """Opens the audio of a recording that is kept. Blocks.

    Raises `NoAnswerError` if its file is missing, `DamagedPartError` for one of another size, `ProtectionError` and
    `UnreadablePartError` without its key, and `StoreError`.
    """
    path, where = recording.path or "", export.location / (recording.path or "")
    try:
        opened = export.filesystem.open_input_file(f"{export.prefix}{path}")
        size = opened.size()
        # Arrow's files have no `readline`.
        file = cast(BinaryIO, BufferedReader(opened))
        if size != recording.bytes:
            raise _damaged(export, path, f"has {size:,} bytes; {recording.bytes:,} were written")
        kind, tag = content_type_of(path), f'"{recording.sha256}"'
        if not is_encrypted(path):
            return Audio(file, size, kind, tag, None)
        name = key_name_of(file)
        keys = export.keys.cipher(export.location, name, export.manifest.encryption).keys if name else ()
        unsealer = Unsealer(file, size, where, shell_word(export.location), *keys)
        return Audio(file, unsealer.audio_bytes, kind, tag, unsealer)
    except FileNotFoundError as error:
        raise NoAnswerError(
            f"{where}: the file of this recording is missing. exporter verify says what else is", 404
        ) from error
    except ExporterError:
        raise
    except OSError as error:
        raise UnreadableFileError(where, str(error)) from error


def check_audio(export: Export, recording: Recording, audio: Audio) -> None:
    """Compares audio that is not encrypted with what was written, unless it is large. Blocks.

    Raises `DamagedPartError`.
    """
    path = recording.path or ""
    if is_encrypted(path) or audio.size > _COMPARED_BYTES:
        return
    digest = hashlib.sha256()
    for chunk in audio.read(range(audio.size)):
        digest.update(chunk)
    if digest.hexdigest() != recording.sha256:
        raise _damaged(export, path, "its bytes are not those that were written")


def content_type_of(path: str) -> str:
    """Returns the type of audio of a media file."""
    return _TYPES.get(media_extension(path).removesuffix(ENCRYPTED), _UNKNOWN)


def _damaged(export: Export, path: str, what: str) -> StoreError:
    return DamagedPartError(export.location / path, what, shell_word(export.location))
