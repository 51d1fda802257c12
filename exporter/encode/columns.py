"""Makes columns of the short fields of rows, and keeps those of a page with its rows, so that they are made once.

A page is checked by its columns when it is decoded, and written by them when its rows are encoded. JSON fields, which
are most of a page, become columns only then, because each column is a copy.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, Self, SupportsIndex, overload

import msgspec
import pyarrow as pa
from msgspec import UNSET
from msgspec.structs import astuple

from exporter.contract import Field, Kind
from exporter.encode.numbers import parse_integers
from exporter.encode.rows import Agent, EncodeRow, ServedRow
from exporter.encode.schema import TYPES

_PLAIN: Final = frozenset((Kind.STRING, Kind.INTEGER))
_NO_AGENT: Final = Agent()


class Columns(msgspec.Struct, frozen=True):
    """Holds the columns of rows by field, with null for what was not served. Times are kept elsewhere (`model.Rows`).

    `gaps` has the values of each field, also of times, that some row was served without (`UNSET`).
    """

    arrays: Mapping[str, pa.Array]
    gaps: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, values: Mapping[str, Sequence[Any]], fields: Iterable[Field]) -> Self:
        """Makes the columns of `fields` from their values. Raises `ValueError` for an integer that fits no column."""
        arrays: dict[str, pa.Array] = {}
        gaps: dict[str, Sequence[Any]] = {}
        for field in fields:
            if field.kind is Kind.JSON:
                continue
            served = values[field.name]
            if field.kind in _PLAIN:
                # No such column takes `UNSET`: looking for it first would cost half as much as making the column.
                with suppress(TypeError):
                    arrays[field.name] = _column(field.kind, served)
                    continue
            if field.kind is Kind.AGENT:
                with suppress(AttributeError):
                    arrays[field.name] = _agents(served)
                    continue
            if UNSET in served:
                gaps[field.name] = served
                served = _without_gaps(served)
            if field.kind is not Kind.TIMESTAMP:
                arrays[field.name] = _column(field.kind, served)
        return cls(arrays, gaps)

    @classmethod
    def of_rows(cls, rows: Sequence[EncodeRow], fields: Iterable[Field]) -> Self:
        """Makes the columns of rows that fit, which may be of different classes."""
        short = [field for field in fields if field.kind is not Kind.JSON]
        return cls.of({field.name: list(map(attrgetter(field.name), rows)) for field in short}, short)

    def cut(self, start: int, stop: int) -> "Columns":
        """Returns the columns of some of the rows."""
        arrays = {name: array.slice(start, stop - start) for name, array in self.arrays.items()}
        return Columns(arrays, {name: values[start:stop] for name, values in self.gaps.items()})

    def with_texts(self, texts: Mapping[str, Sequence[Any]]) -> "Columns":
        """Returns these columns, and those of fields that are strings."""
        arrays = {name: text_array(values) for name, values in texts.items()}
        gaps = {name: values for name, values in texts.items() if UNSET in values}
        return Columns({**self.arrays, **arrays}, {**self.gaps, **gaps})

    def absent(self, name: str) -> int:
        """Returns how many rows were served without a field."""
        return self.gaps[name].count(UNSET) if name in self.gaps else 0


class PageRows(list[EncodeRow]):
    """Lists rows that fit, with their columns: `stretches` are numbers of rows, each with their columns if known.

    Cuts and joins keep what is known.
    """

    def __init__(self, rows: Iterable[EncodeRow], stretches: Sequence[tuple[int, Columns | None]]) -> None:
        super().__init__(rows)
        self.stretches = stretches

    @overload
    def __getitem__(self, place: SupportsIndex) -> EncodeRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[EncodeRow]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> EncodeRow | list[EncodeRow]:
        if not isinstance(place, slice):
            return super().__getitem__(place)
        found = super().__getitem__(place)
        start, stop, step = place.indices(len(self))
        return PageRows(found, _cut(self.stretches, start, stop)) if step == 1 else found

    def __add__(self, other: list[Any]) -> "PageRows":  # type: ignore[override]  # lists of other elements are not met
        return PageRows([*self, *other], [*self.stretches, *_stretches(other)])

    def __radd__(self, other: list[EncodeRow]) -> "PageRows":
        return PageRows([*other, *self], [*_stretches(other), *self.stretches])


def values_of(rows: Sequence[ServedRow]) -> dict[str, Sequence[Any]]:
    """Returns the values of rows of one class by attribute; nothing without rows."""
    return dict(zip(rows[0].__struct_fields__, zip(*map(astuple, rows), strict=True), strict=True)) if rows else {}


def columns_of(rows: Sequence[EncodeRow], fields: Sequence[Field]) -> list[Columns]:
    """Returns the columns of rows that fit, stretch by stretch; those that are not known yet are made."""
    columns: list[Columns] = []
    start = 0
    for count, known in _stretches(rows):
        columns.append(known or Columns.of_rows(rows[start : start + count], fields))
        start += count
    return columns


def _stretches(rows: Sequence[EncodeRow]) -> Sequence[tuple[int, Columns | None]]:
    return rows.stretches if isinstance(rows, PageRows) else [(len(rows), None)]


def _cut(stretches: Sequence[tuple[int, Columns | None]], start: int, stop: int) -> list[tuple[int, Columns | None]]:
    cut: list[tuple[int, Columns | None]] = []
    for count, columns in stretches:
        first, end = max(0, start), min(count, stop)
        if first < end:
            cut.append((end - first, columns and columns.cut(first, end)))
        start, stop = start - count, stop - count
    return cut


def _column(kind: Kind, values: Sequence[Any]) -> pa.Array:
    match kind:
        case Kind.AGENT:
            mask = pa.array([not agent for agent in values], pa.bool_()) if None in values else None
            return _agents([agent or _NO_AGENT for agent in values], mask)
        case Kind.INTEGER:
            return parse_integers(values)
        case _:
            return pa.array(values, pa.string())


def _agents(agents: Sequence[Any], mask: pa.BooleanArray | None = None) -> pa.StructArray:
    """Returns a column of agents, null where the mask says so. Raises `AttributeError` for a value that is none."""
    members = [text_array(list(map(attrgetter(name), agents))) for name in ("id", "name")]
    return pa.StructArray.from_arrays(members, fields=list(TYPES[Kind.AGENT]), mask=mask)


def text_array(values: Sequence[Any]) -> pa.StringArray:
    """Returns a column of strings, in which null also stands for what was not served."""
    try:
        return pa.array(values, pa.string())
    except TypeError:
        return pa.array(_without_gaps(values), pa.string())


def _without_gaps(values: Sequence[Any]) -> list[Any]:
    return [None if value is UNSET else value for value in values]
