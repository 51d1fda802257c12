"""Computes the size of the shortest JSON of rows from their columns, without writing it."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa
from msgspec import UNSET, Raw

from exporter.encode.columns import Columns
from exporter.encode.rows import Agent, OpenObject, ServedRow

#: The characters of a string that have an escape of two bytes, and those that have only one of six.
_ESCAPED: Final = b'"\\\b\f\n\r\t'
_ESCAPED_BY_CODE: Final = bytes(code for code in range(0x20) if code not in _ESCAPED)
_NULL_SIZE: Final = len(b"null")


def least_size(
    rows: Sequence[ServedRow], values: Mapping[str, Sequence[Any]], columns: Columns
) -> tuple[int, list[pa.StringArray]]:
    """Returns the bytes that a JSON array of `rows`, all of one class, takes at least, except for escapes in its texts,
    and these.

    `values` are those of the rows by attribute, and `columns` has the columns of all that are not opaque. What is
    opaque takes what it was served as.
    """
    size = len(b"[]") + max(0, len(rows) - 1)
    texts: list[pa.StringArray] = []
    if rows:
        absent = {name: columns.absent(name) for name in columns.gaps}
        # Every row has a member, so that one of its commas less is written.
        size += len(rows) * (len(b"{}") - 1)
        size += _size_of_members(type(rows[0]), len(rows), values, columns.arrays, absent, texts)
    return size, texts


def count_escapes(texts: Sequence[pa.StringArray]) -> int:
    """Returns how many bytes these texts take in JSON beyond their own, at least."""
    return sum(map(_count_escapes, texts))


def _size_of_members(
    kind: type[OpenObject],
    count: int,
    values: Mapping[str, Sequence[Any]],
    arrays: Mapping[str, pa.Array],
    absent: Mapping[str, int],
    texts: list[pa.StringArray],
) -> int:
    """Returns the size of the members of `count` objects of one class, each with a comma."""
    size = 0
    for name, key in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        array = arrays.get(name)
        if array is None or pa.types.is_integer(array.type):
            served, size_of_values = _size_of_opaque(values[name])
        else:
            served = count - absent.get(name, 0)
            is_text = pa.types.is_string(array.type)
            size_of_values = _size_of_texts(array, texts) if is_text else _size_of_agents(values[name], array, texts)
            size_of_values += _NULL_SIZE * (served - len(array) + array.null_count)
        size += served * (len(msgspec.json.encode(key)) + len(b":,")) + size_of_values
    return size


def _size_of_opaque(values: Sequence[Raw | Any]) -> tuple[int, int]:
    """Returns how many values were served, and their size."""
    try:
        return len(values), sum(map(len, values))
    except TypeError:
        served = [value for value in values if value is not UNSET]
        return len(served), sum(map(len, served))


def _size_of_texts(array: pa.StringArray, texts: list[pa.StringArray]) -> int:
    texts.append(array)
    strings = len(array) - int(array.null_count)
    return _bytes_in(array) + len(b'""') * strings


def _size_of_agents(values: Sequence[Any], array: pa.StructArray, texts: list[pa.StringArray]) -> int:
    agents: list[Agent] = [agent for agent in values if agent]
    if not agents:
        return 0
    kind = type(agents[0])
    arrays = {name: array.field(name) for name in ("id", "name")}
    members = {
        name: list(map(attrgetter(name), agents))
        for name in kind.__struct_fields__
        if name not in arrays or arrays[name].null_count > array.null_count
    }
    absent = {name: members[name].count(UNSET) for name in members}
    bare = 0
    if len(members) == len(kind.__struct_fields__) and all(absent.values()):
        bare = sum(all(value is UNSET for value in row) for row in zip(*members.values(), strict=True))
    # An object without members has no comma.
    size = len(agents) * (len(b"{}") - 1) + bare
    return size + _size_of_members(kind, len(agents), members, arrays, absent, texts)


def _bytes_in(array: pa.StringArray) -> int:
    return int(memoryview(array.buffers()[1]).cast("i")[len(array)])


def _count_escapes(array: pa.StringArray) -> int:
    size = _bytes_in(array)
    text = memoryview(array.buffers()[2])[:size].tobytes() if size else b""
    plain = text.translate(None, _ESCAPED)
    return len(text) - len(plain) + len("u0000") * (len(plain) - len(plain.translate(None, _ESCAPED_BY_CODE)))
