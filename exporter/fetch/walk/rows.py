"""Rows of a page: one by one with their times, by id, and without their texts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from exporter.contract import Instant
from exporter.model import Page, Rows, RowT

TimedRow: TypeAlias = tuple[RowT, Instant, Instant | None]


def each_row(rows: Rows[RowT]) -> Iterable[TimedRow[RowT]]:
    """The rows one by one, each with its times."""
    return zip(rows.rows, rows.created_at, rows.updated_at, strict=True)


def rows_of(rows: Iterable[TimedRow[RowT]]) -> Rows[RowT]:
    """The inverse of `each_row`."""
    columns = tuple(zip(*rows, strict=True))
    return Rows(*map(list, columns)) if columns else Rows()


@dataclass(frozen=True, slots=True)
class Outline:
    """What is left of a row that has been looked at."""

    id: str

    def detach(self) -> None:
        """There is nothing to let go of."""


def outline(page: Page[Any]) -> Page[Outline]:
    """The page without the texts of its rows, which is kept to be looked at again."""
    rows = Rows([Outline(row.id) for row in page.rows.rows], page.rows.created_at, page.rows.updated_at)
    return Page(rows, page.size_bytes, page.is_narrow, page.limit, bounds=page.bounds)


def ids_of(page: Page[RowT]) -> set[str]:
    """The ids on a page."""
    return {row.id for row in page.rows.rows}
