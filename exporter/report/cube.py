"""Counts rows along several dimensions by one reading of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

#: Rows by the values of the dimensions of a set, in their order.
Cells: TypeAlias = Mapping[tuple[Any, ...], int]

_GROUPED: Final = "grouped"
_ROWS: Final = "n"
#: Partial counts are added up when they have this many rows.
_MOST_PARTIAL_ROWS: Final = 500_000


class Sums:
    """Adds up what a query answers for several parts of the rows: the columns `sums`, for equal `keys`."""

    def __init__(self, keys: Sequence[str], sums: Sequence[str]) -> None:
        self._keys = keys
        self._sums = sums
        self._parts: list[pa.Table] = []

    def add(self, answer: pa.Table) -> None:
        """Takes the answer for one part."""
        self._parts.append(answer)
        if sum(part.num_rows for part in self._parts) > _MOST_PARTIAL_ROWS:
            self._parts = [self.total]

    @property
    def total(self) -> pa.Table:
        """Returns the sums of all parts; there must be one at least."""
        found = pa.concat_tables(self._parts).group_by([*self._keys])
        found = found.aggregate([(name, "sum") for name in self._sums])
        return found.rename_columns({f"{name}_sum": name for name in self._sums}).select([*self._keys, *self._sums])


@dataclass(frozen=True)
class Cube:
    """Names what to count: by set, the dimensions that are counted together."""

    sets: Mapping[str, tuple[str, ...]]

    @cached_property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for names in self.sets.values() for name in names))

    def sql(self, rows: str) -> str:
        """Returns the query that counts `rows`, which is a query with a column for each dimension."""
        names = ", ".join(self.dimensions)
        sets = ", ".join(f"({', '.join(names)})" for names in self.sets.values())
        return (
            f"SELECT grouping_id({names}) AS {_GROUPED}, {names}, count(*) AS {_ROWS} "
            f"FROM ({rows}) GROUP BY GROUPING SETS ({sets})"
        )

    def sums(self) -> Sums:
        """Returns what adds up the answers of the query."""
        return Sums((_GROUPED, *self.dimensions), (_ROWS,))

    def split(self, counted: pa.Table) -> dict[str, Cells]:
        """Returns the cells of each set, of what the query has answered."""
        return {name: self._cells(counted, dimensions) for name, dimensions in self.sets.items()}

    def _cells(self, counted: pa.Table, dimensions: tuple[str, ...]) -> Cells:
        # A bit is set for each dimension that is not counted by; the first one has the highest.
        bits = [name not in dimensions for name in self.dimensions]
        wanted = sum(bit << place for place, bit in enumerate(reversed(bits)))
        own = counted.filter(pc.equal(counted[_GROUPED], wanted))
        keys = zip(*(own[name].to_pylist() for name in dimensions), strict=True)
        return dict(zip(keys, own[_ROWS].to_pylist(), strict=True))
