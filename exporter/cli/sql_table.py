"""Draws the rows of an answer as a table that fits a terminal. Pure."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from exporter.cli.canvas import cells, cut
from exporter.query.text import texts_of
from exporter.words import harmless

_GAP: Final = "  "
_LEAST_WIDTH: Final = 12
_MORE: Final = "…"
_SPACES: Final = re.compile(r"\s+")
#: What a cell shows of a text at most, before it is measured.
_MOST_CHARACTERS: Final = 2000


class _Column(NamedTuple):
    name: str
    texts: list[str]
    is_number: bool

    @property
    def width(self) -> int:
        return max(map(cells, (self.name, *self.texts)))


def draw_table(schema: pa.Schema, batches: Sequence[pa.RecordBatch], width: int | None) -> tuple[list[str], int]:
    """Returns the lines of a table, none wider than `width`, and how many columns it leaves out.

    Columns that do not fit are left out of the middle. A text is shown on one line; None as a width cuts nothing.
    """
    columns = [_column(field, [batch.column(number) for batch in batches]) for number, field in enumerate(schema)]
    shown, widths = columns, [column.width for column in columns]
    if width is not None:
        shown = _fitting(columns, width)
        widths = _widths([column.width for column in shown], width - len(_GAP) * (len(shown) - 1))
    rows = [[column.name for column in shown], ["─" * each for each in widths]]
    rows += [list(row) for row in zip(*(column.texts for column in shown), strict=True)]
    lines = [
        _GAP.join(
            _padded(text, each, column.is_number) for text, each, column in zip(row, widths, shown, strict=True)
        ).rstrip()
        for row in rows
    ]
    return lines, len(columns) - sum(column.name != _MORE for column in shown)


def shown_text(text: str) -> str:
    """Returns a text on one line, without anything that a terminal would obey."""
    return harmless(_SPACES.sub(" ", text[:_MOST_CHARACTERS]))


def _column(field: pa.Field, chunks: list[pa.Array]) -> _Column:
    texts = [_cell(value) for chunk in chunks for value in texts_of(chunk, field.name).to_pylist()]
    kind = field.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return _Column(shown_text(field.name), texts, bool(is_number))


def _cell(value: object) -> str:
    if isinstance(value, str):
        return shown_text(value)
    return "NULL" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _fitting(columns: list[_Column], width: int) -> list[_Column]:
    """Returns the first and the last columns that have room, with one between them that stands for the others."""

    def needs(chosen: list[_Column]) -> int:
        return sum(min(column.width, _LEAST_WIDTH) + len(_GAP) for column in chosen) - len(_GAP)

    kept = columns
    for left_out in range(1, len(columns)):
        if needs(kept) <= width:
            break
        first = (len(columns) - left_out + 1) // 2
        last = len(columns) - left_out - first
        between = _Column(_MORE, [_MORE] * len(columns[0].texts), is_number=False)
        kept = [*columns[:first], between, *columns[len(columns) - last :]]
    return kept


def _widths(natural: list[int], width: int) -> list[int]:
    """Returns the widths of columns: the wide ones are cut to the same, so that all fit."""
    most = max(natural)
    while most > 1 and sum(min(each, most) for each in natural) > width:
        most -= 1
    return [min(each, most) for each in natural]


def _padded(text: str, width: int, is_number: bool) -> str:
    text = cut(text[: width * 2 + 2] if cells(text) > width else text, width)
    space = " " * (width - cells(text))
    return f"{space}{text}" if is_number else f"{text}{space}"
