"""Checks the rows of a page, and takes them one by one with their times, by id, or without their texts."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from exporter.contract import Instant, format_instant
from exporter.errors import ContradictionError
from exporter.model import Page, PageRequest, Rows, RowT

TimedRow: TypeAlias = tuple[RowT, Instant, Instant | None]


def each_row(rows: Rows[RowT]) -> Iterable[TimedRow[RowT]]:
    """Returns the rows one by one, each with its times."""
    return zip(rows.rows, rows.created_at, rows.updated_at, strict=True)


def rows_of(rows: Iterable[TimedRow[RowT]]) -> Rows[RowT]:
    """Joins rows again: the inverse of `each_row`."""
    columns = tuple(zip(*rows, strict=True))
    return Rows(*map(list, columns)) if columns else Rows()


class Outline(msgspec.Struct, frozen=True, gc=False):
    """Holds the remainder of a row that has been looked at."""

    id: str

    def detach(self) -> None:
        """Does nothing: there is nothing to let go of."""


class ShownRows:
    """Tells whether there have been two rows or more, of each status that was asked for, and of all (None)."""

    def __init__(self) -> None:
        self._first: dict[str | None, str] = {}
        self._several: set[str | None] = set()

    def note(self, request: PageRequest, page: Page[Any]) -> None:
        """Takes the rows that have answered `request`."""
        for row in page.rows.rows[:2]:
            if self._first.setdefault(request.status, row.id) != row.id:
                self._several.add(request.status)

    def expect_several(self) -> None:
        """Takes it that there are two rows or more, because they are stored."""
        self._several.add(None)

    def are_several(self, status: str | None) -> bool:
        return not self._several.isdisjoint((None, status))


class LoneRows:
    """Counts the pages of ids, one after another, that were cut after one row."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, request: PageRequest, page: Page[Any], lowest: Instant) -> None:
        """Takes the answer to `request`. A row of the list was shown at `lowest`, and none below it."""
        times, before, cursor = page.rows.created_at, request.created_before, request.before_cursor
        if page.is_narrow and len(times) > 1:
            self.count = 0
        elif request.is_plain and page.is_narrow and request.created_after is None:
            if times:
                # The lower row would have been on the page.
                self.count += page.limit > 1 and times[0] > lowest
            elif (before is None or before >= lowest) and (cursor is None or cursor > lowest):
                # The lower row has gone, so a page of one row may be all there is.
                self.count = 0


def outline(page: Page[Any]) -> Page[Outline]:
    """Returns the page without the texts of its rows, so that it can be kept for another look."""
    rows = Rows([Outline(row.id) for row in page.rows.rows], page.rows.created_at, page.rows.updated_at)
    return Page(rows, page.size_bytes, page.is_narrow, page.limit, bounds=page.bounds)


def ids_of(page: Page[RowT]) -> set[str]:
    """Returns the ids on a page."""
    return {row.id for row in page.rows.rows}


def check_order(request: PageRequest, page: Page[RowT]) -> None:
    times = page.rows.created_at
    if len(page) > page.limit:
        raise ContradictionError(f"{_asked(request)}, the API answered {len(page)} rows to limit={page.limit}")
    if list(times) != sorted(times, reverse=True):
        raise ContradictionError(f"{_asked(request)}, the API did not answer newest first")


def without_repeats(request: PageRequest, page: Page[RowT]) -> Page[RowT]:
    ids = ids_of(page)
    if len(ids) == len(page):
        return page
    kept: dict[str, TimedRow[RowT]] = {}
    for row in each_row(page.rows):
        if kept.setdefault(row[0].id, row) != row:
            raise ContradictionError(f"{_asked(request)}, the API answered one id twice, with different content")
    return replace(page, rows=rows_of(kept.values()))


def _asked(request: PageRequest) -> str:
    before = request.created_before
    return "asked for the newest" if before is None else f"asked for conversations up to {format_instant(before)}"
