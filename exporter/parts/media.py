"""Reads the audio of media files, whether they are encrypted or as they were served. Blocking code."""

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from exporter.keys import Key
from exporter.layout import is_encrypted
from exporter.media_cipher import key_name_of, unseal
from exporter.parts.integrity import chunks_of
from exporter.store.disk import open_patiently, reading
from exporter.store.location import Location, shell_word


def audio_in(file: Path, path: str, location: Location, *keys: Key) -> Iterator[bytes | memoryview]:
    """Yields the audio of the media that lies at `path` of the export at `location`, and now in a local `file`.

    A chunk may be overwritten by the next. Raises `UnreadableFileError`, and as `unseal`.
    """
    with reading(file):
        if not is_encrypted(path):
            yield from chunks_of(file)
            return
        with BufferedReader(open_patiently(file)) as opened:
            yield from unseal(opened, location / path, shell_word(location), *keys)


def is_sealed_with(file: Path, path: str, key: Key) -> bool:
    """Returns whether media is encrypted with this key. Raises `UnreadableFileError`."""
    with reading(file), BufferedReader(open_patiently(file)) as opened:
        return is_encrypted(path) and key_name_of(opened) == key.name
