"""Says which rows a report looks at, and how: what all of its queries share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from exporter.coverage import Interval
from exporter.layout import TURNS
from exporter.log.state import State
from exporter.model import DataFile
from exporter.partitions import key_of
from exporter.parts.columns import SORT_COLUMNS
from exporter.query.connection import Query
from exporter.query.literal import time_literal
from exporter.report.calendar import Calendar

#: Queries that join, or that group by texts, take this many rows of turns at a time: so they need little memory.
_CHUNK_ROWS: Final = 1_500_000


@dataclass(frozen=True)
class Scope:
    """Holds an open export, its state, the calendar, and the columns that groups are made of.

    `by` is the column that was asked for, and `version` the one that tells versions of agents apart, or agents; None if
    neither is exported. Unless the report `is_narrowed`, every row counts; it `is_open` if it begins with the data.
    """

    query: Query
    state: State
    calendar: Calendar
    by: str
    version: str | None
    is_narrowed: bool
    is_open: bool

    def has(self, table: str, column: str) -> bool:
        """Returns whether a table of the export has a column."""
        return table in self.query.schemas and column in self.query.schemas[table].names

    def column(self, table: str, column: str, type_: str = "VARCHAR") -> str:
        """Returns SQL for a column, which is null if the export does not have it."""
        return column if self.has(table, column) else f"NULL::{type_}"

    def where(self, table: str, chunk: Interval | None = None) -> str:
        """Returns SQL for the rows of a table in a chunk, or for all of the report."""
        if chunk is None and not self.is_narrowed:
            return "TRUE"
        column, span = SORT_COLUMNS[table], chunk or self.calendar.span
        bounds = [f"{column} < {time_literal(span.end)}"]
        if span.since is not None:
            bounds.append(f"{column} >= {time_literal(span.start)}")
        # Only the key tells, without opening files, which of them to read.
        keys = sorted({value for file in self._files(table, span) for value in file.partition.values()})
        if keys and (key := key_of(self.query.manifest.request.partition_by)):
            cast = "::DATE" if key == key_of("day") else ""
            bounds.append(f"{key} BETWEEN '{keys[0]}'{cast} AND '{keys[-1]}'{cast}")
        return " AND ".join(bounds)

    def chunks(self) -> list[Interval]:
        """Divides the span of the report so that each piece has few enough turns, as far as the files tell."""
        span = self.calendar.span
        return list(divide(span, self._files(TURNS, span), _CHUNK_ROWS))

    def _files(self, table: str, span: Interval) -> list[DataFile]:
        files = self._by_table.get(table, ())
        return [file for file in files if file.created_at_min < span.end and file.created_at_max >= span.start]

    @cached_property
    def _by_table(self) -> dict[str, list[DataFile]]:
        found: dict[str, list[DataFile]] = {}
        for file in self.state.files.values():
            found.setdefault(file.table, []).append(file)
        return found


def divide(span: Interval, files: Sequence[DataFile], most_rows: int) -> Iterator[Interval]:
    """Yields pieces of `span`, without a gap, that have about `most_rows` rows of `files` at most."""
    start, rows = span.start, 0
    for file in sorted(files, key=lambda file: (file.created_at_min, file.path)):
        pieces = max(1, -(-file.rows // most_rows))
        seconds = file.created_at_max + 1 - file.created_at_min
        for piece in range(1, pieces + 1):
            rows += -(-file.rows // pieces)
            end = file.created_at_min + seconds * piece // pieces
            if rows >= most_rows and start < end < span.end:
                yield Interval(start, end)
                start, rows = end, 0
    yield Interval(start, span.end)
