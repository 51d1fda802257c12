"""Served timestamps to instants, a column at a time."""

import re
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from exporter.contract import Instant, parse_timestamp

_BELOW_MICROSECONDS: Final = re.compile(r"([.,]\d{6})\d+", re.ASCII)


def parse_column(texts: Sequence[str | None]) -> list[Any] | None:
    """The instants of a column, None staying None; or None if any text names no instant in whole microseconds."""
    column = pa.array(texts, pa.string())
    # Arrow takes a column that has offsets throughout, or nowhere (then UTC); api.md, 2 allows a mixture.
    for kind in (pa.timestamp("us", tz="UTC"), pa.timestamp("us")):
        try:
            return list(column.cast(kind).cast(pa.int64()).to_pylist())
        except pa.ArrowInvalid:
            continue
    try:
        return [None if text is None else parse_timestamp(text) for text in texts]
    except ValueError:
        return None


def parse_floored(text: str) -> tuple[Instant | None, bool]:
    """The instant, cut to microseconds, and whether it is exact; None for what is no timestamp."""
    try:
        return parse_timestamp(text), True
    except ValueError:
        try:
            return parse_timestamp(_BELOW_MICROSECONDS.sub(r"\1", text)), False
        except ValueError:
            return None, False
