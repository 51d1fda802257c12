"""Turns the settled rows of windows into parts, and closed parts into changes that can be committed."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from math import inf
from operator import neg
from typing import Final, Protocol

import msgspec
from anyio import to_thread

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.encode.rows import EncodeRow, Misfit, ServedRow
from exporter.fetch.walk.window import Settled
from exporter.model import Change, Rows, Unproven
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import write_quarantine
from exporter.pipeline.role import Guard
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import MISFIT_BYTES
from exporter.pipeline.table_parts import StagedPart, TablesWriter
from exporter.schedule.homes import Place

#: A part is closed after this long even if it is small, so that a kill costs at most this much reading.
_OPEN_SECONDS: Final = 60.0
#: From this size of a batch on, the text of its page is dropped first, because writing takes as much again and more.
_LARGE_BYTES: Final = 8 * 1024 * 1024


class _OpenPart(msgspec.Struct):
    """Holds a part that is being written: `interval` is where its rows may lie (None: anywhere); `top` is its end."""

    writer: TablesWriter
    partition: dict[str, str]
    interval: Interval | None
    top: Instant
    opened_at: float
    absent: Counter[str] = msgspec.field(default_factory=Counter)
    withheld_rows: int = 0


class StagedWindow(msgspec.Struct, frozen=True):
    """Holds what a window has finished: `covers`, which reaches down to the end of its last part, and what is in it.

    `covers` is None if there are only doubts, which may be about other windows. `read_since` is the server's clock
    before the earliest page of the window, or None before the first one. `hidden_status` is as in `Scan`.
    """

    covers: Interval | None
    parts: list[StagedPart]
    misfits: list[Misfit]
    unproven: tuple[Unproven, ...]
    read_since: Instant | None
    hidden_status: str | None = None


class PartTarget(Protocol):
    """Tells a `WindowWriter` where rows belong and which of them to write, and takes the parts."""

    stage: PartStage
    guard: Guard
    misfit_bytes: int

    def place(self, created_at: Instant) -> tuple[dict[str, str], Interval | None]:
        """Returns the partition of a row, and where the rows lie that may share its part (None: anywhere)."""

    def wanted(self, rows: Rows[EncodeRow], scan: Scan) -> Rows[EncodeRow]:
        """Returns the rows that must be written."""

    async def hand_over(self, staged: StagedWindow) -> Change | None:
        """Takes what a window has finished. Returns the change to commit, if there is one."""


class PartSink:
    """Writes the rows of every window into parts, and publishes them. `arrives` is as in `model.Change`."""

    kept = "What was read is committed"
    again = "to resume"

    def __init__(
        self, stage: PartStage, guard: Guard, *, arrives: bool = False, misfit_bytes: int = MISFIT_BYTES
    ) -> None:
        self.stage = stage
        self.guard = guard
        self.misfit_bytes = misfit_bytes
        self._arrives = arrives

    def open_window(self, end: Instant, scan: Scan) -> "WindowWriter":
        return WindowWriter(self, end, scan)

    def place(self, created_at: Instant) -> tuple[dict[str, str], Interval | None]:
        return self.stage.tables.place(created_at)

    def wanted(self, rows: Rows[EncodeRow], _scan: Scan) -> Rows[EncodeRow]:
        return rows

    async def hand_over(self, staged: StagedWindow) -> Change:
        """Publishes what a window has finished. Raises as `Guard.withholds` does, before anything is published."""
        if not await self.guard.withholds(part.file.withheld_rows for part in staged.parts):
            for part in staged.parts:
                part.file = msgspec.structs.replace(part.file, withheld_rows=0)
        adds = await self.stage.publish(staged.parts)
        misfits, place = staged.misfits, self.stage.publication
        quarantine = await write_quarantine(place, self.stage.next_name(), misfits) if misfits else None
        return Change(
            covers=(staged.covers,) if staged.covers else (),
            adds=adds,
            quarantines=(quarantine,) if quarantine else (),
            unproven=staged.unproven,
            read_since=staged.read_since,
            organization=self.guard.organization,
            hidden_status=staged.hidden_status,
            arrives=self._arrives,
        )


class WindowWriter:
    """Writes the rows of one window, from new to old, and says what can be committed.

    A part is closed when its partition is left, at the target size, when there are many misfits, and by `finish`, which
    is due when `seconds_left` have passed. It then covers the window from where the last commit ended down to its own
    lower end. A doubt about anything else than what the next commit will cover is committed at once.
    """

    def __init__(self, target: PartTarget, end: Instant, scan: Scan) -> None:
        self._target = target
        self._stage = target.stage
        self._scan = scan
        self._part: _OpenPart | None = None
        self._top = end
        self._uncommitted_end = end
        self._misfits: list[Misfit] = []
        self._misfits_since = inf
        self._unproven: list[Unproven] = []
        self._read_since: Instant | None = None
        self._has_bare_rows = False

    @property
    def seconds_left(self) -> float:
        """Returns the time until rows have waited for a minute for their commit; infinite if none wait."""
        since = min(self._part.opened_at if self._part else inf, self._misfits_since if self._misfits else inf)
        return max(0.0, since + _OPEN_SECONDS - self._stage.clock())

    async def add(self, settled: Settled[EncodeRow], settled_from: Instant, read_since: Instant) -> Change | None:
        """Takes what a page has settled. Returns what can be committed now, with its files published."""
        # Rows that were held back came on an earlier page than this one.
        self._read_since = read_since if self._read_since is None else min(self._read_since, read_since)
        self._unproven += settled.unproven
        closed = await to_thread.run_sync(self._write, settled.rows, settled_from, limiter=self._stage.working)
        if self._has_bare_rows:
            await self._target.guard.begin()
        if closed:
            return await self._hand_over(closed, closed[-1].file.window.start)
        if sum(len(misfit.text) for misfit in self._misfits) >= self._target.misfit_bytes:
            return await self.finish(settled_from)
        # After a kill, what is not committed is read again, and may then be proven. Any other doubt may be about a
        # window that is committed already, and must not be lost.
        doubted = [doubt.interval for doubt in settled.unproven]
        if all(settled_from <= one.start and one.end <= self._uncommitted_end for one in doubted):
            return None
        return await self._hand_over([], self._uncommitted_end)

    async def finish(self, settled_from: Instant) -> Change | None:
        """Closes the open part: the window has been read down to `settled_from`."""
        closed = await to_thread.run_sync(self._close, settled_from, limiter=self._stage.working)
        return await self._hand_over(closed, settled_from) if settled_from < self._uncommitted_end else None

    def abort(self) -> None:
        """Gives up the open part."""
        if self._part is not None:
            self._part.writer.abort()
            self._part = None

    def _write(self, rows: Rows[EncodeRow], settled_from: Instant) -> list[StagedPart]:
        closed: list[StagedPart] = []
        for piece, partition, interval in _by_place(self._target.wanted(rows, self._scan), self._target.place):
            if self._part is not None and self._part.interval != interval and self._part.interval is not None:
                closed += self._close(self._part.interval.start)
            encoded = self._stage.tables.encoder.encode(piece)
            if not self._misfits:
                self._misfits_since = self._stage.clock()
            self._misfits += encoded.quarantined
            self._target.guard.check(encoded)
            self._has_bare_rows |= encoded.withheld_rows > 0
            if encoded.batch.nbytes >= _LARGE_BYTES:
                for row in piece.rows:
                    if isinstance(row, ServedRow):
                        row.drop()
            if encoded.batch.num_rows:
                if self._part is None:
                    writer = self._stage.new_part()
                    self._part = _OpenPart(writer, partition, interval, self._top, self._stage.clock())
                self._part.writer.write(encoded.batch)
                self._part.absent.update(encoded.absent)
                self._part.withheld_rows += encoded.withheld_rows
        if self._part is None:
            return closed
        if self._part.interval is not None and settled_from <= self._part.interval.start:
            closed += self._close(self._part.interval.start)
        elif self._part.writer.size_bytes >= self._stage.target_part_bytes:
            closed += self._close(settled_from)
        return closed

    def _close(self, bottom: Instant) -> list[StagedPart]:
        part = self._part
        if part is None:
            return []
        finished = part.writer.close()
        self._part = None  # only now: what cannot be closed must be aborted
        self._top = bottom
        return finished.closed(part.partition, Interval(bottom, part.top), part.absent, part.withheld_rows)

    async def _hand_over(self, closed: list[StagedPart], bottom: Instant) -> Change | None:
        finished = StagedWindow(
            Interval(bottom, self._uncommitted_end) if bottom < self._uncommitted_end else None,
            closed,
            [misfit for misfit in self._misfits if misfit.created_at >= bottom],
            tuple(self._unproven),
            self._read_since,
            self._scan.hidden_status,
        )
        self._misfits = [misfit for misfit in self._misfits if misfit.created_at < bottom]
        self._unproven = []
        self._top = self._uncommitted_end = bottom
        return await self._target.hand_over(finished)


def _by_place(rows: Rows[EncodeRow], place: Place) -> Iterator[tuple[Rows[EncodeRow], dict[str, str], Interval | None]]:
    """Cuts rows, which run from new to old, where one place ends and the next begins."""
    done = 0
    while done < len(rows):
        partition, interval = place(rows.created_at[done])
        # This is the position of the first row that is older.
        end = len(rows) if interval is None else bisect_right(rows.created_at, -interval.start, done, key=neg)
        yield rows[done:end], partition, interval
        done = end
