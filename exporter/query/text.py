"""Spells the values of an answer as text, from which each can be read back exactly. Pure.

A time is ISO 8601, with `Z` if it is an instant, a number has as many digits as tell it apart, and a text is as it is.
What has members is JSON. Times beyond the years 1 to 9999, which SQL has and ISO 8601 has not, are refused.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from exporter.errors import UsageError

_T_PLACE: Final = len("2026-02-10")
_DAYS: Final = (-719_162, 2_932_896)  # 0001-01-01 and 9999-12-31
_SECONDS_A_DAY: Final = 86_400
_A_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def texts_of(column: pa.Array, name: str) -> pa.Array:
    """Returns a column with what CSV has no type for as texts; numbers, booleans and texts stay as they are.

    Raises `UsageError`, which names the column, for a value that has no such text.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _iso(column, name)
    if pa.types.is_time(kind) or pa.types.is_decimal(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if _is_plain(kind):
        return column
    values = _values(column, name)
    encode = _guarded(_encoder.encode, f"column {name}")
    return pa.array(
        [value if value is None or isinstance(value, str) else encode(value).decode() for value in values], pa.string()
    )


def objects_of(batch: pa.RecordBatch) -> Iterable[bytes]:
    """Returns the rows as JSON objects. The columns must differ in name. Raises `UsageError` as `texts_of`."""
    names = batch.schema.names
    columns = [_values(column, name) for name, column in zip(names, batch.columns, strict=True)]
    encode = _guarded(_encoder.encode, "a row")
    return (encode(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))


def _values(column: pa.Array, name: str) -> list[Any]:
    """Returns the values of a column as JSON has them, those of its members as `msgspec` spells them."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return list(_iso(column, name).to_pylist())
    values = _guarded(column.to_pylist, f"column {name}")(maps_as_pydicts="strict")
    if pa.types.is_interval(kind):
        return [None if value is None else _period(value) for value in values]
    if pa.types.is_binary(kind):
        return [None if value is None else b64encode(value).decode() for value in values]
    return list(values)


def _period(value: pa.MonthDayNano) -> str:
    """Returns a period as ISO 8601 has it."""
    months, days, nanoseconds = value
    sign, (seconds, rest) = "-" * (nanoseconds < 0), divmod(abs(nanoseconds), _A_SECOND["ns"])
    return f"P{months}M{days}DT{sign}{seconds}{f'.{rest:09}'.rstrip('0') if rest else ''}S"


def _iso(column: pa.Array, name: str) -> pa.Array:
    kind = column.type
    is_date = pa.types.is_date(kind)
    a_day = 1 if is_date else _SECONDS_A_DAY * _A_SECOND[kind.unit]
    numbers = column.cast(pa.int32()).cast(pa.int64()) if is_date else column.cast(pa.int64())
    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is not None and not _DAYS[0] * a_day <= bounds["min"] <= bounds["max"] < (_DAYS[1] + 1) * a_day:
        raise UsageError(f"column {name}: a time lies beyond the years 1 to 9999. Cast it to VARCHAR")
    if is_date:
        return column.cast(pa.string())
    text = column.cast(pa.timestamp(kind.unit)).cast(pa.string())
    text = pc.utf8_replace_slice(text, _T_PLACE, _T_PLACE + 1, "T")
    return text if kind.tz is None else pc.binary_join_element_wise(text, "Z", "")


def _is_plain(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_primitive(kind)) and not (
        pa.types.is_interval(kind) or pa.types.is_duration(kind)
    )


def _guarded(work: Callable[..., Any], what: str) -> Callable[..., Any]:
    def guarded(*given: Any, **named: Any) -> Any:
        try:
            return work(*given, **named)
        except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
            raise UsageError(f"{what}: a value has no text of its own here ({error}). Cast it to VARCHAR") from error

    return guarded
