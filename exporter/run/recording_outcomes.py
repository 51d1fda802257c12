"""Keeps what became of the recordings of a run: a row each, unless a row would say less than is known."""

from collections import Counter, defaultdict

import msgspec

from exporter.clock import wall_clock
from exporter.contract import SECOND, Instant
from exporter.encode.recordings import RecordingRow
from exporter.fetch.media.transfer import Status
from exporter.log.recordings import AGAIN
from exporter.pipeline.download import Result, Wanted
from exporter.pipeline.recording_rows import RecordingRows
from exporter.pipeline.recordings import row_of
from exporter.run.media_access import rule_of
from exporter.run.media_hosts import MediaHosts
from exporter.run.recordings_left import Batch
from exporter.settings import RecordingSettings


class Tally(msgspec.Struct):
    """Counts what a run has done: recordings by status, in `by_status`, with the `bytes` of those that are stored, and
    the `reasons` of the others, by status.

    `waiting` conversations are over and have no recording yet. `unreached` ones are known to have a recording that has
    no row yet, and `barred` ones among them were not asked for because no option admits their address. `lost`
    recordings are older than the source keeps them, and `again` others are worth another run. `gave_up` says why the
    run has given up hosts of recordings; it is empty if it has not.
    """

    by_status: Counter[str] = msgspec.field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = msgspec.field(default_factory=lambda: defaultdict(Counter))
    bytes: int = 0
    waiting: int = 0
    unreached: int = 0
    barred: int = 0
    lost: int = 0
    again: int = 0
    gave_up: str = ""


class Outcomes:
    """Gives rows to `rows`, and counts them in `tally`.

    `passed` are conversations whose links lead to a host that is given up, or whose other recording stays until this
    one comes.
    """

    def __init__(self, rows: RecordingRows, tally: Tally, settings: RecordingSettings) -> None:
        self.hosts = MediaHosts(rule_of(settings), settings.concurrency)
        self.passed: dict[str, Instant] = {}
        self._rows = rows
        self._tally = tally
        self._retention_seconds = settings.retention_seconds
        self._batch = Batch()

    def begin(self, batch: Batch) -> None:
        """Makes a batch the one that results belong to from now on."""
        self._batch, self.passed = batch, {}

    async def keep(self, wanted: Wanted, result: Result) -> None:
        """Keeps a result, unless its host is to answer first, and what was held back. Raises `StoreError`."""
        for each in self.hosts.take(wanted, result):
            await self.keep_row(*each)

    async def keep_row(self, wanted: Wanted, result: Result) -> None:
        """Keeps the row of a result. Raises `StoreError`."""
        if result.status != "stored" and wanted.conversation_id in self._batch.changed:
            # What is kept is worth more than the reason why its successor is not.
            if result.status in AGAIN:
                self.passed[wanted.conversation_id] = wanted.created_at
            return
        self._tally.bytes += result.bytes or 0 if result.status == "stored" else 0
        stored = self._batch.marks.get(wanted.conversation_id, (None, None))
        await self._add(row_of(wanted, result, stored), result)

    async def add_without(self, identity: str, created_at: Instant, reason: str, status: Status = "gone") -> None:
        """Keeps the row of a recording that there is no link to, unless another one is stored. Raises `StoreError`."""
        if identity in self._batch.changed:
            return
        await self._add(
            RecordingRow(
                conversation_id=identity,
                conversation_created_at=created_at,
                status=status,
                reason=reason,
                fetched_at=wall_clock(),
                attempts=0,
            )
        )

    def is_lost(self, created_at: Instant) -> bool:
        """Returns whether the source no longer has a recording, as far as its retention is known."""
        seconds = self._retention_seconds
        return seconds is not None and created_at < wall_clock() - seconds * SECOND

    async def _add(self, row: RecordingRow, result: Result | None = None) -> None:
        tally = self._tally
        tally.by_status[row.status] += 1
        if row.status != "stored":
            tally.reasons[row.status][row.reason or "unknown"] += 1
            is_lost = self.is_lost(row.conversation_created_at)
            tally.lost += is_lost
            tally.again += row.status in AGAIN and not is_lost
        if result is None or result.staged_path is None:
            await self._rows.add(row)
        else:
            await self._rows.add(row, result.staged_path, result.extension or "bin")
