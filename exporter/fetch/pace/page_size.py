"""Decides how many rows to ask for, so that a page is about as large as it should be. Pure.

The size of a page is known only when it is there. Until then, only the rows of the pages before it are known, and huge
rows come in clusters: so the last page alone counts, a page that was given up counts for a while, and the number of
rows at most doubles from page to page.
"""

from typing import Any, Final

import msgspec

from exporter.contract import MAX_PAGE_SIZE
from exporter.model import Page, PageRequest

#: Assumed until a page has come. A row of ids has about 150 bytes, one with its transcript up to 30 kB (source.md).
_ROW_BYTES: Final = 8 * 1024
_ROW_OF_IDS_BYTES: Final = 256
#: A margin, because the rows of one page are not those of the next.
_MARGIN: Final = 1.25
_FEWER: Final = 4


class _RecentPages(msgspec.Struct):
    """Bytes per row on recent pages of one kind, whole rows or ids, and how many rows may be asked for."""

    row_bytes: float
    most_rows: int = MAX_PAGE_SIZE


class Portions:
    """Decides how many rows one walk asks for. Bytes are those of the JSON text.

    `target_bytes` is what a page should have, and `largest_bytes` what it may have. `row_bytes` is the size of whole
    rows that other walks have read, if any.
    """

    def __init__(self, target_bytes: int, largest_bytes: int, row_bytes: float | None = None) -> None:
        self._target_bytes = target_bytes
        self._largest_bytes = largest_bytes
        self._whole = _RecentPages(row_bytes or _ROW_BYTES)
        self._ids = _RecentPages(_ROW_OF_IDS_BYTES)

    def rows(self, request: PageRequest) -> int:
        """Returns how many rows to ask for, from 1 to `request.limit`."""
        recent = self._recent(request)
        if request.entire:
            return max(1, min(request.limit, int(self._largest_bytes / (recent.row_bytes * _MARGIN))))
        return max(1, min(request.limit, recent.most_rows, int(self._target_bytes / recent.row_bytes)))

    def expected_bytes(self, request: PageRequest, rows: int) -> int:
        """Returns a size that a page of `rows` rows is unlikely to exceed."""
        return min(self._largest_bytes, int(rows * self._recent(request).row_bytes * _MARGIN) + 1)

    def came(self, request: PageRequest, page: Page[Any]) -> None:
        """Learns from a page."""
        if page:
            recent = self._recent(request)
            recent.row_bytes = page.size_bytes / len(page)
            recent.most_rows = min(MAX_PAGE_SIZE, 2 * page.limit)

    def fewer(self, request: PageRequest, rows: int, size_bytes: int) -> int:
        """Returns how many rows to ask for after a page of `rows` was given up at `size_bytes`; at least 1."""
        recent = self._recent(request)
        recent.row_bytes = max(recent.row_bytes, size_bytes / rows)
        recent.most_rows = max(1, rows // _FEWER)
        return recent.most_rows

    def _recent(self, request: PageRequest) -> _RecentPages:
        return self._ids if request.ids_only else self._whole
