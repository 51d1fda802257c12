"""Parses whole numbers from JSON texts, exactly: 55.0 and 5.5e1 are 55, and 2**53 + 1 stays the same."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
import pyarrow as pa
from msgspec import Raw

_NULL: Final = Raw(b"null")
#: Refuses numbers with a fraction or an exponent.
_plain: Final = msgspec.json.Decoder(list[int | None])
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?")
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_INT64_DIGITS: Final = 19


def parse_integers(texts: Sequence[Raw | None]) -> pa.Array:
    """Returns an int64 column of JSON values; None and `null` become null.

    Raises `ValueError` for a value that `parse_integer` refuses.
    """
    values = [_NULL if text is None else text for text in texts]
    try:
        return pa.array(_plain.decode(b"[" + b",".join(values) + b"]"), pa.int64())
    except (msgspec.DecodeError, OverflowError, pa.ArrowInvalid):
        return pa.array([None if value == _NULL else parse_integer(bytes(value)) for value in values], pa.int64())


def parse_integer(text: bytes) -> int:
    """Returns a JSON number as a 64-bit integer. Raises `ValueError` that says why it is none, without the text."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("is not a number")
    number = Decimal(text.decode())
    # The exponent comes first, because 1e999999999 is short to write and long to expand.
    if number.adjusted() >= _INT64_DIGITS or not _INT64_MIN <= number <= _INT64_MAX:
        raise ValueError("is beyond 64 bits")
    if number != int(number):
        raise ValueError("is not a whole number")
    return int(number)
