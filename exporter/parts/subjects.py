"""Says by which value rows belong to somebody: a column, or a place inside a column of JSON. Pure, and blocking.

A value is compared as a whole, as it is stored: a part of it, or the same in other letters, is another value. With
`digits`, digits alone are compared, for numbers that are written in several ways.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, Final, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exporter.errors import UsageError
from exporter.parts.lenient import Literals, Members, decode

#: Fewer digits than this may be those of very different numbers.
LEAST_DIGITS: Final = 6
_NO_DIGIT: Final = re.compile(r"\D+")
_NO_DIGIT_RE2: Final = r"\P{Nd}+"
#: Up to this many values are looked for in texts of JSON before these are decoded.
_MOST_SOUGHT: Final = 16
_STEP: Final = re.compile(r'(?P<quoted>"(?:[^"\\]|\\.)+")|(?P<name>[^."\[\]]+)|\[(?P<index>\*|\d+)\]')
_ANY, _DEEP = "*", "**"


def steps_of(path: str) -> tuple[str, ...]:
    """Returns the steps of a path: `conversation.items[*].content` goes through the column, a key, each element, and a
    key. `*` is any key, `**` any number of steps, and `"a.b"` a key with a dot. Raises `UsageError`."""
    steps, at = list[str](), 0
    while at < len(path):
        if steps and path[at] == ".":
            at += 1
        match = _STEP.match(path, at)
        if match is None or (not steps and match["name"] is None):
            raise UsageError(f"--by {path!r}: not a column, or a path such as custom_metadata.email")
        quoted = match["quoted"]
        steps.append(_unquoted(quoted, path) if quoted else match["name"] or f"[{match['index']}]")
        at = match.end()
    if not steps or path.endswith("."):
        raise UsageError(f"--by {path!r}: not a column, or a path such as custom_metadata.email")
    return tuple(steps)


def _unquoted(quoted: str, path: str) -> str:
    try:
        return msgspec.json.decode(quoted, type=str)
    except msgspec.MsgspecError as error:
        raise UsageError(f"--by {path!r}: {quoted} is not a key in quotes") from error


def values_at(value: Any, steps: Sequence[str]) -> Iterator[Any]:
    """Yields what lies at the end of the steps in JSON that `lenient.decode` has read, and in each list there."""
    if isinstance(value, Literals):
        yield from value
        return
    if not steps:
        yield value
        if isinstance(value, list):
            for each in value:
                yield from values_at(each, steps)
        return
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = decode(value)  # JSON in a text of JSON
        if isinstance(value, Literals):
            yield from value
            return
    step, rest = steps[0], steps[1:]
    members = value if isinstance(value, Members) else value.items() if isinstance(value, dict) else ()
    inside = value if isinstance(value, list) else [each for _, each in members]
    if step == _DEEP:
        yield from values_at(value, rest)
        for each in inside:
            yield from values_at(each, steps)
    elif step.startswith("[") and isinstance(value, list):
        chosen = value if step == "[*]" else value[int(step[1:-1]) :][:1]
        for each in chosen:
            yield from values_at(each, rest)
    else:
        for name, each in members:
            if step in (_ANY, name):
                yield from values_at(each, rest)


def text_of(value: Any) -> str | None:
    """Returns a value of JSON as the text that it is compared by; None for what is neither text nor number."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def digits_of(text: str) -> str:
    """Returns the digits of a text, as ASCII digits."""
    return "".join(str(int(one)) for one in _NO_DIGIT.sub("", text))


@dataclass(frozen=True)
class Subject:
    """Names somebody by `values` at a path. With `digits`, the values are digits alone. `str` shows no value."""

    by: str
    values: frozenset[str] = field(default=frozenset(), repr=False)
    digits: bool = False

    @classmethod
    def of(cls, by: str, values: Iterable[str], *, digits: bool = False) -> Self:
        """Returns the subject with these values. Raises `UsageError`, which names a value by its number alone."""
        steps_of(by)
        found = set[str]()
        for number, value in enumerate(values, 1):
            wanted = digits_of(value) if digits else value
            if digits and len(wanted) < LEAST_DIGITS:
                raise UsageError(f"value {number}: --digits compares {LEAST_DIGITS} digits at least")
            found.add(wanted)
        return cls(by, frozenset(found), digits)

    @cached_property
    def steps(self) -> tuple[str, ...]:
        return steps_of(self.by)

    @property
    def column(self) -> str:
        """Returns the column that has the values, or in which they lie."""
        return self.steps[0]

    def has(self, value: Any) -> bool:
        """Returns whether a value of JSON is one of those."""
        text = text_of(value)
        return text is not None and (digits_of(text) if self.digits else text) in self.values

    def is_in(self, row: Any) -> bool:
        """Returns whether a row is somebody's, given as decoded JSON."""
        return any(map(self.has, values_at(row, self.steps)))

    def may_be_in(self, rows: pq.RowGroupMetaData) -> bool:
        """Returns whether a row group may have such a row, by its statistics."""
        columns = map(rows.column, range(rows.num_columns))
        statistics = next((one.statistics for one in columns if one.path_in_schema == self.by), None)
        if self.digits or statistics is None or not statistics.has_min_max or not isinstance(statistics.min, str):
            return bool(self.values)
        return any(statistics.min <= value <= statistics.max for value in self.values)

    def mask(self, rows: pa.RecordBatch) -> pa.BooleanArray:
        """Says of each row whether it is somebody's; of none if there is no such column."""
        if self.column not in rows.schema.names or not self.values:
            return pa.array([False] * rows.num_rows, pa.bool_())
        column, inside = rows.column(self.column), self.steps[1:]
        while inside and pa.types.is_struct(column.type):
            names = [column.type.field(index).name for index in range(column.type.num_fields)]
            if inside[0] not in names:
                return pa.array([False] * rows.num_rows, pa.bool_())
            column, inside = pc.struct_field(column, inside[0]), inside[1:]
        if pa.types.is_struct(column.type):
            return pa.array([False] * rows.num_rows, pa.bool_())
        column = column.cast(pa.string())
        return self._json_mask(column, inside) if inside else self._text_mask(column)

    def _text_mask(self, column: pa.Array) -> pa.BooleanArray:
        if self.digits:
            ascii_digits = pc.replace_substring_regex(column, _NO_DIGIT_RE2, "")
            if not pc.all(pc.string_is_ascii(ascii_digits), min_count=0).as_py():
                found = [text is not None and digits_of(text) in self.values for text in column.to_pylist()]
                return pa.array(found, pa.bool_())
            column = ascii_digits
        return pc.is_in(column, pa.array(sorted(self.values), pa.string()))

    def _json_mask(self, column: pa.Array, inside: Sequence[str]) -> pa.BooleanArray:
        if not self.digits and len(self.values) <= _MOST_SOUGHT:
            # What holds neither the value nor an escaped character need not be decoded.
            hints = (pc.match_substring(column, text) for text in ("\\", *self.values))
            candidates = reduce(pc.or_, hints).fill_null(False)
        else:
            candidates = column.is_valid()
        found = [False] * len(column)
        for position in pc.indices_nonzero(candidates).to_pylist():
            found[position] = any(map(self.has, values_at(decode(column[position].as_py()), inside)))
        return pa.array(found, pa.bool_())


def text_pattern(values: Iterable[str], *, digits: bool) -> str:
    """Returns a regular expression of RE2 that finds any of the values in a text, also in that of JSON, whatever their
    letters are; with `digits`, also with other characters between the digits."""
    found = list[str]()
    for value in sorted(values):
        if digits:
            found.append(r"[^0-9A-Za-z]{0,3}".join(value))
            continue
        escaped = msgspec.json.encode(value).decode()[1:-1]
        ascii_only = "".join(map(_json_ascii, escaped))
        found += [_quoted(text) for text in dict.fromkeys((value, escaped, ascii_only))]
    return f"(?i:{'|'.join(found)})"


def _json_ascii(character: str) -> str:
    if character.isascii():
        return character
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _quoted(text: str) -> str:
    return "".join(f"\\{one}" if one.isascii() and not one.isalnum() and one > " " else one for one in text)


def text_mask(rows: pa.RecordBatch, pattern: str) -> pa.BooleanArray:
    """Says of each row whether any of its texts has the pattern."""
    masks = [pc.match_substring_regex(column, pattern).fill_null(False) for column in _texts(rows.columns)]
    return reduce(pc.or_, masks) if masks else pa.array([False] * rows.num_rows, pa.bool_())


def _texts(columns: Iterable[pa.Array]) -> Iterator[pa.Array]:
    for column in columns:
        if pa.types.is_struct(column.type):
            yield from _texts(pc.struct_field(column, index) for index in range(column.type.num_fields))
        elif pa.types.is_string(column.type):
            yield column


#: Returns the text that is stored for a value of a column: its keyed hash where a policy hashes it.
Stored = Callable[[str, str], str]


def as_served(_by: str, value: str) -> str:
    """Returns the value itself: no policy changes it."""
    return value
