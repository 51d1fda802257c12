"""Describes what a sync has done."""

from datetime import datetime

import msgspec

from exporter.jobs.summary import Summary


class SyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what a destination holds, and what the run has changed, in rows of the table; `rewritten` counts files.

    `updates_since` is that of the manifest; `updates_since_before` is None before the first run.
    """

    summary: Summary
    inserted: int
    updated: int
    removed: int
    unchanged: int
    rewritten: int
    open_rows: int
    updates_since_before: datetime | None
    updates_since: datetime | None

    @property
    def exit_status(self) -> int:
        return self.summary.exit_status
