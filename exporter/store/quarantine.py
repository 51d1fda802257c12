"""Quarantine files: rows that fit no column types, kept as they were served, with the reason."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from exporter.contract import Instant, format_instant
from exporter.model import QuarantineFile
from exporter.store.commits import Store
from exporter.store.layout import quarantine_path


class Quarantined(Protocol):
    """A row that does not fit. `text`: its JSON as served; `created_at`: its own, or that of the row before it."""

    @property
    def created_at(self) -> Instant: ...
    @property
    def reason(self) -> str: ...
    @property
    def text(self) -> bytes: ...


async def write_quarantine(store: Store, name: str, rows: Sequence[Quarantined]) -> QuarantineFile:
    """Writes `rows` to a new quarantine file, durably, for a commit to name. Raises `StoreError`."""
    data = b"".join(_lines(rows))
    path = quarantine_path(name)
    await store.create(path, data)
    return QuarantineFile(path=path, rows=len(rows), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _lines(rows: Iterable[Quarantined]) -> Iterable[bytes]:
    for row in rows:
        line = {"reason": row.reason, "created_at": format_instant(row.created_at), "row": row.text.decode()}
        yield msgspec.json.encode(line) + b"\n"
