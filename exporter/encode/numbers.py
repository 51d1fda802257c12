"""Whole numbers out of the JSON texts of numbers, exactly: 55.0 and 5.5e1 are 55, and 2**53 + 1 stays what it is."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import pyarrow as pa
from msgspec import Raw

from exporter.encode.texts import text_column

_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?")
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_INT64_DIGITS: Final = 19


def parse_integers(texts: Sequence[Raw | None]) -> pa.Array:
    """An int64 column out of JSON values; None and `null` become null.

    Raises `ValueError` for a value that `parse_integer` refuses.
    """
    column = text_column(texts, pa.string())
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return pa.array(
            [None if text is None else parse_integer(text.encode()) for text in column.to_pylist()], pa.int64()
        )


def parse_integer(text: bytes) -> int:
    """The integer of 64 bits that a JSON number is. Raises `ValueError` that says why it is none, without the text."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("is not a number")
    number = Decimal(text.decode())
    # The exponent first: 1e999999999 is short to write and long to expand.
    if number.adjusted() >= _INT64_DIGITS or not _INT64_MIN <= number <= _INT64_MAX:
        raise ValueError("is beyond 64 bits")
    if number != int(number):
        raise ValueError("is not a whole number")
    return int(number)
