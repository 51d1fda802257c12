"""How many rows to ask for, so that a page is about as large as it should be. Pure.

The size of a page is known when it is there. What is known before is the size of the rows of the pages before, and
huge rows come in clusters: so the last page counts alone, a page that was given up counts for a while, and the number
of rows grows no faster than it doubles from page to page.
"""

from dataclasses import dataclass
from typing import Any, Final

from exporter.contract import MAX_PAGE_SIZE
from exporter.model import Page, PageRequest

#: Until a page has come. A row of ids has about 150 bytes, one with its transcript up to 30 kB (api.md).
_ROW_BYTES: Final = 8 * 1024
_ROW_OF_IDS_BYTES: Final = 256
#: Rows of one page are not those of the next.
_MARGIN: Final = 1.25
_FEWER: Final = 4


@dataclass(slots=True)
class _Recent:
    """What pages of one kind, of whole rows or of ids, have shown: bytes a row, and how many rows may be asked for."""

    row_bytes: float
    most_rows: int = MAX_PAGE_SIZE


class Portions:
    """The rows to ask for, of one walk. Bytes are those of the JSON text.

    `target_bytes`: what a page should have; `largest_bytes`: what one may have; `row_bytes`: of whole rows that others
    have had, if any.
    """

    def __init__(self, target_bytes: int, largest_bytes: int, row_bytes: float | None = None) -> None:
        self._target_bytes = target_bytes
        self._largest_bytes = largest_bytes
        self._whole = _Recent(row_bytes or _ROW_BYTES)
        self._ids = _Recent(_ROW_OF_IDS_BYTES)

    def rows(self, request: PageRequest) -> int:
        """How many rows to ask for, from 1 to `request.limit`."""
        recent = self._recent(request)
        if request.entire:
            return max(1, min(request.limit, int(self._largest_bytes / (recent.row_bytes * _MARGIN))))
        return max(1, min(request.limit, recent.most_rows, int(self._target_bytes / recent.row_bytes)))

    def expected_bytes(self, request: PageRequest, rows: int) -> int:
        """What a page of so many rows will hardly pass."""
        return min(self._largest_bytes, int(rows * self._recent(request).row_bytes * _MARGIN) + 1)

    def came(self, request: PageRequest, page: Page[Any]) -> None:
        """Learns from a page."""
        if page:
            recent = self._recent(request)
            recent.row_bytes = page.size_bytes / len(page)
            recent.most_rows = min(MAX_PAGE_SIZE, 2 * page.limit)

    def fewer(self, request: PageRequest, rows: int, size_bytes: int) -> int:
        """How many rows to ask for after a page of `rows` was given up at `size_bytes`; 1 when it had no more."""
        recent = self._recent(request)
        recent.row_bytes = max(recent.row_bytes, size_bytes / rows)
        recent.most_rows = max(1, rows // _FEWER)
        return recent.most_rows

    def _recent(self, request: PageRequest) -> _Recent:
        return self._ids if request.ids_only else self._whole
