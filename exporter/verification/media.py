"""Compares the rows of recordings with the media that they name, and with the conversations that they belong to.

This goes partition by partition, and through large ones in several turns, so that the memory that it takes does not
grow with the number of recordings. A row whose conversation is in no part is no problem, and only counted: a recording
may be kept shortly before its conversation, or the conversation may be in quarantine or yet to be read again.
"""

import os
from collections.abc import Container, Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from exporter.errors import DamagedPartError, UnreadableFileError, UnreadablePartError
from exporter.layout import RECORDINGS, is_media, media_directory, partition_text
from exporter.model import DataFile, ExportFile
from exporter.parts.ids import hash_ids, read_ids
from exporter.parts.integrity import missized, opened
from exporter.parts.reader import read_batches
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.store.base import Store
from exporter.tasks import for_each
from exporter.verification.inspection import Inspection, look
from exporter.verification.problems import Problem
from exporter.verification.sample import Sample

#: The media of more rows than this is looked at in turns, each with the names that begin alike.
_ROWS_AT_ONCE: Final = 100_000
_DIGITS: Final = "0123456789abcdef"


async def inspect_media(store: Store, findings: Inspection, sample: Sample, *, reads_media: bool) -> None:
    """Looks at the sizes of all media that sound parts of recordings name, and notes what is wrong.

    With `reads_media`, it also hashes the media that parts in `sample` name. Raises `StoreError`.
    """
    spoiled = {problem.file for problem in findings.problems} | findings.closed
    ordered = sorted(findings.state.recordings, key=lambda file: (partition_text(file.partition), file.path))
    for _, together in groupby(ordered, lambda file: partition_text(file.partition)):
        parts = [file for file in together if file.path not in spoiled]
        rows = sum(file.rows for file in parts)
        for prefix in _DIGITS if rows > _ROWS_AT_ONCE else ("",):
            await _inspect_named(store, findings, parts, prefix, sample if reads_media else (), spoiled)
        await _count_strays(store, findings, [file for file in parts if file.path in sample], spoiled)


async def find_orphans(store: Store, findings: Inspection) -> Iterable[Problem]:
    """Returns what is left of killed runs: each media file that no row names; nothing if not all rows can be read.

    A run sweeps where it adds rows, so they may lie elsewhere for long, and are no damage. Raises `StoreError`.
    """
    try:
        found = await find_media_garbage(store, findings.state, None)
    except (DamagedPartError, UnreadableFileError, UnreadablePartError):
        found = []  # the part is named as what is wrong, or counted as encrypted
    what = "no row of recordings names it: a run that was killed left it, and exporter vacuum deletes it"
    return (Problem(path, "behind", what) for path in found)


async def _inspect_named(
    store: Store,
    findings: Inspection,
    parts: Sequence[DataFile],
    prefix: str,
    read: Container[object],
    spoiled: set[str],
) -> None:
    """Looks at the media whose SHA-256 begins with `prefix`, and reads what parts in `read` name. Parts that turn out
    to be unreadable are `spoiled`."""
    named, wanted = dict[str, ExportFile](), set[str]()
    for file in parts:
        if file.path in spoiled:
            continue
        rows = await look(store, findings, file, partial(_media_of, file.partition, prefix), opened)
        if rows is None:
            spoiled.add(file.path)
            continue
        media, wrong = rows
        if wrong:
            findings.problems.append(Problem(file.path, "values", f"{wrong:,} rows do not say where their media lies"))
        for one in media:
            named[one.path] = one
            if file.path in read:
                wanted.add(one.path)
    damaged = await missized(store, {path: file.size_bytes for path, file in named.items()})
    for path, damage in damaged.items():
        said = "a row of recordings names it, and it is not there" if damage.kind == "missing" else damage.detail
        findings.problems.append(Problem(path, damage.kind, said))

    async def read_media(path: str) -> None:
        await look(store, findings, named[path], lambda _: None)
        findings.media_read += 1
        findings.media_bytes_read += named[path].size_bytes

    await for_each(sorted(wanted - damaged.keys()), read_media, at_once=os.cpu_count() or 1)


def _media_of(partition: dict[str, str], prefix: str, part: Path) -> tuple[list[ExportFile], int]:
    """Returns the media that rows of a part name, and the number of the rows that name it wrongly. Blocks."""
    found, wrong = dict[str, ExportFile](), 0
    directory = media_directory(partition)
    for batch in read_batches([part], ["status", "path", "bytes", "sha256"]):
        kept = pc.or_kleene(pc.equal(batch.column("status"), "stored"), batch.column("path").is_valid())
        for row in batch.filter(kept).to_pylist():
            path, sha256, size = row["path"], row["sha256"], row["bytes"]
            is_right = path and sha256 and size and row["status"] == "stored" and is_media(path)
            if not is_right or not path.startswith(f"{directory}/{sha256}."):
                wrong += not prefix or prefix == _DIGITS[0]
            elif sha256.startswith(prefix):
                found[path] = ExportFile(path=path, rows=0, size_bytes=size, sha256=sha256)
    return list(found.values()), wrong


async def _count_strays(store: Store, findings: Inspection, parts: Sequence[DataFile], spoiled: Container[str]) -> None:
    """Counts the rows of `parts`, which share a partition, whose conversation is not in it."""
    if not parts:
        return
    hashes: list[pa.Array] = []

    def take(part: Path) -> None:
        hashes.extend(_hashed(ids) for ids in read_ids(part))

    for file in findings.state.conversations:
        if file.partition == parts[0].partition and file.path not in spoiled:
            await look(store, findings, file, take, opened)
    known = pa.chunked_array(hashes, pa.int64()).combine_chunks()

    def count(part: Path) -> int:
        ids = (_hashed(ids) for ids in read_ids(part, table=RECORDINGS))
        return sum(len(some) - pc.is_in(some, known).true_count for some in ids)

    for file in parts:
        if file.path in spoiled:
            continue
        findings.strays += await look(store, findings, file, count, opened) or 0


def _hashed(ids: pa.Array) -> pa.Array:
    hashes = hash_ids(ids.drop_null())
    return pa.Array.from_buffers(pa.int64(), len(hashes), [None, pa.py_buffer(hashes)])
