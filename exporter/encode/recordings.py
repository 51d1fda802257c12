"""Encodes what became of recordings to the table `recordings`: a row for each conversation that has one."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
import pyarrow as pa

from exporter.contract import Instant

#: Rows with these statuses are final; the next run tries the others again.
FINAL: Final = ("stored", "gone", "refused")


class RecordingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Says what became of the recording of one conversation. `duration` is in seconds, as the API says.

    `status` is one of `FINAL`, `failed` or `expired`, and `reason` says why it is not stored. `path` is that of the
    media, relative to the destination. `url_hash` is what `url_hash` makes of its URL. `attempts` counts the downloads.
    """

    conversation_id: str
    conversation_created_at: Instant
    status: str
    fetched_at: Instant
    attempts: int
    reason: str | None = None
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    duration: float | None = None
    url_hash: str | None = None
    source_etag: str | None = None


_TIME: Final = pa.timestamp("us", tz="UTC")


def recordings_schema() -> pa.Schema:
    """Returns the columns of recordings. All are nullable, but no row has a null in the first three, nor in the last
    two."""
    return pa.schema(
        [
            ("conversation_id", pa.string()),
            ("conversation_created_at", _TIME),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("path", pa.string()),
            ("bytes", pa.int64()),
            ("sha256", pa.string()),
            ("content_type", pa.string()),
            ("duration", pa.float64()),
            ("url_hash", pa.string()),
            ("source_etag", pa.string()),
            ("fetched_at", _TIME),
            ("attempts", pa.int32()),
        ]
    )


def encode_recordings(rows: Iterable[RecordingRow]) -> pa.RecordBatch:
    """Returns the rows as a batch, in the same order."""
    return pa.RecordBatch.from_pylist([msgspec.structs.asdict(row) for row in rows], schema=recordings_schema())


def url_hash(path: str) -> str:
    """Returns a hash of a URL's path, by which another recording is told from the one that is stored.

    A path alone may open the recording to anybody, as its signature does; so it is not kept.
    """
    return hashlib.sha256(path.encode()).hexdigest()[:32]
