"""Makes and reads the lines of quarantine files: rows that fit no column, as they were served, and the reason. Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from exporter.contract import Instant, format_instant, parse_timestamp


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


def quarantined_versions(lines: Iterable[bytes]) -> Iterator[tuple[str, Instant, Instant | None]]:
    """Yields the id, `created_at` and, if it can be read, `updated_at` of each line of a quarantine file."""
    for line in map(read_line, lines):
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
