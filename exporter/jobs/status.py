"""`exporter status` shows what a destination has, how complete it is, and which run holds it. It changes nothing."""

import msgspec

from exporter.contract import Instant
from exporter.log.commits import load_state
from exporter.log.journal import RunRecord, read_last_run
from exporter.log.state import StateName, state_name
from exporter.model import Coverage, Interval
from exporter.run.reconcile import stored_export
from exporter.settings import Request
from exporter.store.location import Location
from exporter.store.open import open_store


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Sums up the commit log of a destination. `turns` is None if that table was not asked for.

    `covered_share` is the share of the range, in time, that has been read, from 0 to 1; it is None if the range is open
    below and not yet complete. `gaps` have not been read yet. `updates_since` is that of the manifest. `last_run` is
    the last run that has ended and was not killed.
    """

    state: StateName
    rows: int
    files: int
    bytes: int
    range_start: Instant | None
    range_end: Instant
    covered_share: float | None
    gaps: tuple[Interval, ...]
    quarantined_rows: int
    unproven: int
    runs: int
    committed_at: Instant | None
    updates_since: Instant | None
    holder: str | None
    last_run: RunRecord | None
    turns: int | None = None
    organization: str | None = None
    request: Request | None = None


async def status(destination: Location) -> Status:
    """Returns the status of a destination.

    Raises `DestinationError` if there is no export, and `StoreError` if its log is damaged.
    """
    async with open_store(destination) as store:
        state = await load_state(store)
        request, range_ = stored_export(state, destination)
        holder, last_run = await store.lock_holder(), await read_last_run(store)
    left = state.left
    share = None if left and range_.open_below else 1 - left.length / Coverage([range_]).length
    return Status(
        state=state_name(state),
        rows=state.totals.rows,
        turns=state.totals.turns,
        files=state.totals.files,
        bytes=state.totals.bytes,
        range_start=range_.since,
        range_end=range_.end,
        covered_share=share,
        gaps=left.intervals,
        quarantined_rows=state.quarantined_rows,
        unproven=len(state.unproven),
        runs=len(state.runs),
        committed_at=state.committed_at,
        updates_since=state.read_since,
        holder=None if holder is None else str(holder),
        last_run=last_run,
        organization=state.organization,
        request=request,
    )
