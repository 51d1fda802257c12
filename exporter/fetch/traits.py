"""What a run has learned of its server, shared by all its walks."""

import math
from typing import Any

from exporter.contract import SECOND, Instant
from exporter.model import Page, Rows


class Traits:
    """The finest time the server has shown, and the largest pages it has delivered. Both only ever grow.

    `unit` (microseconds) divides every served `created_at`, so it is never finer than the precision the server serves:
    by value, not by digits, since `.123000` may be milliseconds written long (api.md, 2).
    """

    def __init__(self) -> None:
        self.unit: Instant = SECOND
        self.most_rows = 0
        self.most_whole_rows = 0
        self.calibrated = False
        self.lone_row = False
        self.updated_at_missing = False
        self.fields_ignored = False
        self._largest: list[tuple[int, int]] = []

    def observe_times(self, rows: Rows[Any]) -> None:
        """Learns the unit, and whether rows without `updated_at` occur."""
        self.unit = math.gcd(self.unit, *rows.created_at)
        self.updated_at_missing = self.updated_at_missing or None in rows.updated_at

    def observe_size(self, page: Page[Any], *, ids_only: bool) -> None:
        """Remembers the largest pages: `most_rows` of any, `most_whole_rows` with all the fields asked for."""
        self.most_rows = max(self.most_rows, len(page))
        if ids_only:
            self.fields_ignored = self.fields_ignored or (len(page) > 0 and not page.is_narrow)
        else:
            self.most_whole_rows = max(self.most_whole_rows, len(page))
        if not any(rows >= len(page) and size >= page.size_bytes for rows, size in self._largest):
            self._largest = [kept for kept in self._largest if kept[0] > len(page) or kept[1] > page.size_bytes]
            self._largest.append((len(page), page.size_bytes))

    def proves_uncut(self, listing: Page[Any]) -> bool:
        """Whether no limit can have cut `listing`, a page of ids: neither the one it was asked with, nor one of the
        server's, which has delivered a longer page, and one that is larger by more than the next row could be.

        Rows of ids alone are nearly of one size. Where the API ignores `fields` they are not, and the next row is
        trusted not to be twenty times as large as these. The only row of an organization is taken for all, though
        nothing longer can be had to compare it with: a page of ids is trusted to hold two rows.
        """
        if not listing:
            return True
        if len(listing) >= listing.limit:
            return False
        if self.lone_row and len(listing) == 1:
            return True
        mean_bytes = listing.size_bytes / len(listing)
        next_row_bytes = 2 * mean_bytes + 64 if listing.is_narrow else 20 * mean_bytes
        least_bytes = listing.size_bytes + next_row_bytes
        return any(rows > len(listing) and size > least_bytes for rows, size in self._largest)
