"""Tells by a hash whether a row that was read again has changed.

The API signs the URL of a recording again at every reading (source.md, 12): the signature, and when that ends, do not
count.
"""

import hashlib
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
import pyarrow as pa

from exporter.contract import LINK_ENDS, RECORDING_FIELD, RECORDING_URL
from exporter.parts.columns import ID_COLUMN


def fingerprints(rows: Iterable[pa.RecordBatch], without: Collection[str] = ()) -> dict[str, bytes]:
    """Returns a hash of what each row holds, except these columns and the signature of its recording, by id."""
    found = {}
    for batch in rows:
        for row in batch.to_pylist():
            if details := row.get(RECORDING_FIELD):
                row[RECORDING_FIELD] = _unsigned(details)
            # A column that was added after the part was written counts as null.
            values = [(name, value) for name, value in row.items() if value is not None and name not in without]
            found[row[ID_COLUMN]] = hashlib.blake2b(repr(values).encode(), digest_size=16).digest()
    return found


def _unsigned(text: str) -> Any:
    """Returns `recording_details` without the query of each URL and its end, or the text itself if it has no URL."""
    try:
        details = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return text
    every = details if isinstance(details, list) else [details]
    if not any(isinstance(each, dict) and isinstance(each.get(RECORDING_URL), str) for each in every):
        return text
    return [_unsigned_one(each) for each in every]


def _unsigned_one(details: Any) -> Any:
    url = details.get(RECORDING_URL) if isinstance(details, dict) else None
    if not isinstance(url, str):
        return details
    rest = {name: value for name, value in details.items() if name not in LINK_ENDS}
    return rest | {RECORDING_URL: url.partition("?")[0]}
