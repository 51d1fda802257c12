"""Sums up in figures what a run has done."""

import msgspec

from exporter.contract import Instant
from exporter.encode.tables import Tables
from exporter.errors import StoreError
from exporter.layout import MANIFEST
from exporter.log.acceptance import Acceptance
from exporter.log.manifest import served_fields
from exporter.log.state import State, StateName, state_name
from exporter.model import Counters
from exporter.store.location import Location


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Sums up what a destination holds after a run; `requests` and `seconds` are those of the run.

    `turns` is None if that table was not asked for. `bytes` are those of the parts. `resumed` says that an export
    existed before the run, and `changed` that the run committed something. `kept_files` counts replaced files that are
    kept for readers of older manifests. `partly_withheld` counts files with rows that came without sensitive fields
    while other rows had them. `acceptances` name the doubts that somebody has accepted; `is_accepted` says that these
    are all there are.
    """

    state: StateName
    rows: int
    files: int
    bytes: int
    requests: int
    seconds: float
    manifest: str
    resumed: bool
    changed: bool
    quarantined_rows: int
    unproven: int
    withheld: tuple[str, ...]
    partly_withheld: int
    range_start: Instant | None
    range_end: Instant
    partition_key: str | None
    kept_files: int = 0
    turns: int | None = None
    table_kind: str | None = None
    acceptances: tuple[Acceptance, ...] = ()
    is_accepted: bool = False

    @property
    def exit_status(self) -> int:
        doubtful = self.state == "unproven" or self.quarantined_rows or self.unproven
        return 1 if self.state == "incomplete" else 3 if doubtful and not self.is_accepted else 0


def summarize(destination: Location, before: State, after: State, spent: Counters) -> Summary:
    """Returns the summary of a run that has led from `before` to `after`. `spent` is what the run has cost."""
    range_ = after.range
    if range_ is None:
        raise StoreError(f"{destination}: the log has no range")
    served = served_fields(after)
    return Summary(
        state=state_name(after),
        rows=after.totals.rows,
        files=after.totals.files,
        bytes=after.totals.bytes,
        requests=spent.requests,
        seconds=round(spent.seconds, 3),
        manifest=str(destination / MANIFEST),
        resumed=before.number > 0,
        changed=after.number > before.number,
        quarantined_rows=after.quarantined_rows,
        unproven=len(after.unproven),
        withheld=tuple(served.withheld),
        partly_withheld=len(served.partly_withheld),
        range_start=range_.since,
        range_end=range_.end,
        partition_key=None if after.request is None else Tables.of(after.request).partition_key,
        kept_files=len(after.kept),
        turns=after.totals.turns,
        table_kind=None if after.table_format is None else after.table_format.kind,
        acceptances=after.acceptances,
        is_accepted=after.is_accepted,
    )
