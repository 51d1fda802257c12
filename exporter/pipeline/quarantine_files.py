"""Writes and reads quarantine files. In an encrypted export they are sealed with its data key, as media is.

Nothing else opens them. A file that is sealed says so by its name; one that an older exporter wrote may be plain.
"""

import hashlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from anyio import to_thread

from exporter.coverage import Interval
from exporter.errors import UnreadablePartError
from exporter.layout import ENCRYPTED, dropped_path, is_encrypted, quarantine_path, undropped_path
from exporter.log.quarantine import QuarantineRow, line_of
from exporter.media_cipher import Sealer, unseal
from exporter.model import Change, ExportFile, QuarantineFile
from exporter.parts.cipher import NO_KEY, current
from exporter.parts.integrity import as_written, read_whole
from exporter.pipeline.part_stage import PartStage, Publication
from exporter.store.base import Store
from exporter.store.location import Location, shell_word


async def write_quarantine(place: Publication, name: str, rows: Sequence[QuarantineRow]) -> QuarantineFile:
    """Writes `rows` to a new quarantine file, durably, for a commit to name. Raises `StoreError`."""
    times = [row.created_at for row in rows]
    return await write_lines(place, name, map(line_of, rows), Interval(min(times), max(times) + 1))


async def write_lines(
    place: Publication, name: str, lines: Iterable[bytes], window: Interval | None, *, rest_of: str | None = None
) -> QuarantineFile:
    """Does what `write_quarantine` does, with lines that `line_of` has made. `rest_of` is the file that had them."""
    lines = list(lines)
    data, key = _stored(lines)
    path = quarantine_path(name, encrypted=bool(key))
    await place.create(path, data)
    return QuarantineFile(
        path=path,
        rows=len(lines),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        window=window,
        rest_of=rest_of,
        key=key,
    )


async def reseal_lines(stage: PartStage, files: Iterable[QuarantineFile]) -> Change:
    """Writes quarantine files again, under the key that is current, and returns the change that puts them in place of
    the old ones. Nothing is committed. Raises `StoreError`."""
    made, removes = list[QuarantineFile](), list[str]()
    for file in sorted(files, key=lambda file: file.path):
        lines = await read_lines(stage.store, file)
        made.append(await write_lines(stage.store, stage.next_name(), lines, file.window, rest_of=file.path))
        removes.append(file.path)
    return Change(removes=tuple(removes), quarantines=tuple(made))


async def put_lines_aside(store: Store, run: str, was: str, lines: Iterable[bytes]) -> None:
    """Writes lines to where `run` puts a quarantine file aside that was at a path. Raises `StoreError`."""
    data, key = _stored(lines)
    await store.create(dropped_path(run, was.removesuffix(ENCRYPTED) + (ENCRYPTED if key else "")), data)


def _stored(lines: Iterable[bytes]) -> tuple[bytes, str]:
    """Returns the bytes to store, and the name of the key that they are encrypted with, or nothing."""
    data, cipher = b"".join(lines), current()
    if cipher is None:
        return data, ""
    sealer = Sealer(cipher.keys[0])
    return sealer.update(data) + sealer.finish(), cipher.key_name


async def read_lines(store: Store, file: ExportFile) -> list[bytes]:
    """Returns the lines of a quarantine file, also of a dropped one. Raises as `as_written` and `lines_in`."""
    async with as_written(store, file) as path:
        return await to_thread.run_sync(lines_in, path, file.path, store.location)


def lines_in(file: Path, path: str, location: Location) -> list[bytes]:
    """Returns the lines of the quarantine file that lies at `path` of the export at `location`, and now in a local
    `file`. Blocks.

    Raises `UnreadableFileError`; `UnreadablePartError` without its key, and `DamagedPartError` as `unseal`.
    """
    data = read_whole(file)
    if is_encrypted(undropped_path(path) or path):
        cipher = current()
        if cipher is None:
            raise UnreadablePartError(location / path, NO_KEY)
        data = b"".join(unseal(BytesIO(data), location / path, shell_word(location), *cipher.keys))
    return data.splitlines(keepends=True)
