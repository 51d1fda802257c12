"""Parses served timestamps to instants, a column at a time."""

import re
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import BEGINNING, END_OF_TIME, Instant, parse_timestamp

#: A time without minutes, which Arrow would take, but which is more likely cut than meant.
_HOUR_ALONE: Final = "^.{13}[^:]|^.{13}$"
#: The longest of them ends with an offset, such as +05:30. Texts are looked at only if one is no longer than that: it
#: takes three times as long as parsing them.
_HOUR_ALONE_BYTES: Final = 19
_BELOW_MICROSECONDS: Final = re.compile(r"([.,]\d{6})\d+", re.ASCII)


def parse_column(texts: pa.StringArray) -> list[Any] | None:
    """Returns the instants of a column, with None for null; None if any text is not an instant in whole microseconds.

    Takes what `contract.parse_timestamp` takes, within the years 1 to 9999.
    """
    instants = _parse_alike(texts)
    if instants is None:
        try:
            one_by_one = [None if text is None else parse_timestamp(text) for text in texts.to_pylist()]
        except ValueError:
            return None
        instants = pa.array(one_by_one, pa.int64())
    bounds = pc.min_max(instants).as_py()
    if bounds["min"] is not None and not (_is_in_range(bounds["min"]) and _is_in_range(bounds["max"])):
        return None
    return list(instants.to_pylist())


def parse_floored(text: str) -> tuple[Instant | None, bool]:
    """Returns the instant, cut to microseconds, and whether it is exact; None for a text that is not a timestamp."""
    for exact, candidate in ((True, text), (False, _BELOW_MICROSECONDS.sub(r"\1", text))):
        try:
            instant = parse_timestamp(candidate)
        except ValueError:
            continue
        return (instant, exact) if _is_in_range(instant) else (None, False)
    return None, False


def _parse_alike(column: pa.StringArray) -> pa.Int64Array | None:
    """Returns the instants of texts if all have offsets or none has (then UTC); None for a mixture or anything odd."""
    shortest = pc.min_max(pc.binary_length(column))["min"].as_py() or 0
    if shortest <= _HOUR_ALONE_BYTES and pc.any(pc.match_substring_regex(column, _HOUR_ALONE)).as_py():
        return None
    for kind in (pa.timestamp("us", tz="UTC"), pa.timestamp("us")):
        try:
            return column.cast(kind).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
    return None


def _is_in_range(instant: Instant) -> bool:
    """Checks the year: an offset can carry a text out of those that windows are made of; year 0 is never one."""
    return BEGINNING <= instant < END_OF_TIME
