"""Keeps rows that do not fit the column types in quarantine files, as they were served and with the reason."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from exporter.contract import Instant, format_instant, parse_timestamp
from exporter.coverage import Interval
from exporter.layout import quarantine_path
from exporter.model import QuarantineFile
from exporter.store.base import Store


class Line(msgspec.Struct):
    """Describes a row in a quarantine file; `row` is its JSON as served."""

    reason: str
    created_at: str
    id: str
    row: str


class QuarantineRow(Protocol):
    """Describes a row that does not fit; `text` is its JSON as served.

    `id` is the row's own, or one that stands for its text; `created_at` is its own, or that of the row before it.
    """

    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> Instant: ...
    @property
    def reason(self) -> str: ...
    @property
    def text(self) -> bytes: ...


async def write_quarantine(store: Store, name: str, rows: Sequence[QuarantineRow]) -> QuarantineFile:
    """Writes `rows` to a new quarantine file, durably, for a commit to name. Raises `StoreError`."""
    times = [row.created_at for row in rows]
    return await write_lines(store, name, map(line_of, rows), Interval(min(times), max(times) + 1))


async def write_lines(
    store: Store, name: str, lines: Iterable[bytes], window: Interval | None, *, rest_of: str | None = None
) -> QuarantineFile:
    """Does what `write_quarantine` does, with lines that `line_of` has made. `rest_of` is the file that had them."""
    data = b"".join(lines)
    path = quarantine_path(name)
    await store.create(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    return QuarantineFile(
        path=path, rows=data.count(b"\n"), size_bytes=len(data), sha256=sha256, window=window, rest_of=rest_of
    )


def line_of(row: QuarantineRow) -> bytes:
    """Returns the line of a quarantine file that holds a row."""
    line = Line(row.reason, format_instant(row.created_at), row.id, row.text.decode())
    return msgspec.json.encode(line) + b"\n"


def read_line(line: bytes) -> Line:
    """Returns what a line of a quarantine file says."""
    return msgspec.json.decode(line, type=Line)


def id_of(line: bytes) -> str:
    """Returns the `id` in a line of a quarantine file."""
    return read_line(line).id


def cut_row(line: bytes, cut: Callable[[bytes], bytes]) -> bytes:
    """Returns a line of a quarantine file whose row is what `cut` leaves of it."""
    known = read_line(line)
    row = cut(known.row.encode())
    return msgspec.json.encode(msgspec.structs.replace(known, row=row.decode())) + b"\n"


def row_of(line: bytes) -> str:
    """Returns the row in a line of a quarantine file, as it was served, or what stands for it."""
    return read_line(line).row


def created_at_of(line: bytes) -> Instant:
    """Returns the `created_at` in a line of a quarantine file."""
    return parse_timestamp(read_line(line).created_at)


class _UpdatedRow(msgspec.Struct):
    updated_at: str


class _CreatedRow(msgspec.Struct):
    created_at: str


def quarantined_versions(data: bytes) -> Iterator[tuple[str, Instant, Instant | None]]:
    """Yields the id, `created_at` and, if it can be read, `updated_at` of each line of a quarantine file."""
    for line in map(read_line, data.splitlines()):
        yield line.id, parse_timestamp(line.created_at), _updated_at(line.row)


def _updated_at(row: str) -> Instant | None:
    try:
        return parse_timestamp(msgspec.json.decode(row, type=_UpdatedRow).updated_at)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


def own_created_at(line: bytes) -> Instant | None:
    """Returns when the row in a line of a quarantine file says it was created; None if it does not say."""
    try:
        known = read_line(line)
        instant = parse_timestamp(msgspec.json.decode(known.row, type=_CreatedRow).created_at)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    return instant if instant == parse_timestamp(known.created_at) else None
