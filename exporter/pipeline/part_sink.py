"""From settled rows to changes: a window's rows into parts, and what is closed into what can be committed."""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import inf
from operator import neg
from typing import Final

import msgspec
from anyio import CapacityLimiter, to_thread

from exporter.contract import Instant
from exporter.encode.batch import EncodedBatch, Encoder
from exporter.encode.rows import EncodeRow, Misfit, ServedRow
from exporter.encode.turns import TurnsEncoder
from exporter.errors import AccessError
from exporter.fetch.walk.window import Settled
from exporter.layout import partition_of
from exporter.log.quarantine import write_quarantine
from exporter.model import Change, DataFile, Interval, Rows, Unproven
from exporter.pipeline.role import Role
from exporter.pipeline.sink import same_organization
from exporter.pipeline.table_parts import StagedPart, TablesWriter
from exporter.plan.homes import Place
from exporter.settings import PartitionBy
from exporter.store.base import Store

#: A part is closed after this long even when it is small: a kill then costs no more than that much reading.
_OPEN_SECONDS: Final = 60.0
#: Of misfits that a window holds in memory: should the API change a type, every row is one.
_MISFIT_BYTES: Final = 16 * 1024 * 1024
#: Of a batch: the text of its page is let go of before the batch is written, which takes as much again and more.
_LARGE_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True)
class _OpenPart:
    """A part under way. `interval`: where its rows may lie, None for anywhere; `top`: where its window ends."""

    writer: TablesWriter
    partition: dict[str, str]
    interval: Interval | None
    top: Instant
    opened_at: float
    absent: Counter[str] = field(default_factory=Counter)
    withheld_rows: int = 0


@dataclass(frozen=True, slots=True)
class StagedWindow:
    """What has been finished of a window: `covers` down to where its last part ends, and what was found there.

    `covers`: None when there are only doubts, which may be about other windows. `read_since`: the server's clock before
    the earliest page of the window; None when there was none.
    """

    covers: Interval | None
    parts: list[StagedPart]
    misfits: list[Misfit]
    unproven: tuple[Unproven, ...]
    read_since: Instant | None


class PartsFactory:
    """What the windows of one run have in common when they write: schema, store, sizes and names.

    `turns`: makes that table, too; None where it is not asked for. `kept` and `again`: as of `taking.Factory`.
    `role`: judges rows that come without any sensitive field; None: they are taken to be withheld. `refuses_withheld`:
    the rows that are there have sensitive fields, and a token that may not see them is refused. `arrives`: as of
    `model.Change`.
    """

    kept = "What was read is committed"
    again = "to resume"

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        *,
        run: str,
        partition_by: PartitionBy,
        target_part_bytes: int,
        row_group_bytes: int,
        turns: TurnsEncoder | None = None,
        organization: str | None = None,
        hidden_status: str | None = None,
        role: Role | None = None,
        refuses_withheld: bool = False,
        arrives: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store: Final = store
        self.run: Final = run
        self.encoder: Final = encoder
        self.partition_by: Final[PartitionBy] = partition_by
        self.target_part_bytes: Final = target_part_bytes
        self.row_group_bytes: Final = row_group_bytes
        self.turns: Final = turns
        self.organization = organization
        self.hidden_status: Final = hidden_status
        self.role: Final = role
        self.refuses_withheld: Final = refuses_withheld
        self.arrives: Final = arrives
        self.clock: Final = clock
        # Encoding holds the interpreter, compression does not: two threads keep two cores busy.
        self.working: Final = CapacityLimiter(2)
        self._names: Final = (f"{run}-{number:06d}" for number in count(1))

    def open_window(self, end: Instant) -> "WindowWriter":
        """What takes the rows of a window."""
        return WindowWriter(self, end)

    def place(self, created_at: Instant) -> tuple[dict[str, str], Interval | None]:
        """The partition of a row, and where others lie that go into one part with it; None: anywhere."""
        return partition_of(created_at, self.partition_by)

    def wanted(self, rows: Rows[EncodeRow]) -> Rows[EncodeRow]:
        """Those of the rows that are written."""
        return rows

    async def publish(self, parts: Iterable[StagedPart]) -> tuple[DataFile, ...]:
        """Moves whole parts to where a commit can name them."""
        files = []
        for part in parts:
            await self.store.publish(self.store.staging_file(part.name), part.file.path)
            files.append(part.file)
        return tuple(files)

    async def hand_over(self, finished: StagedWindow) -> Change | None:
        """Publishes what a window has finished. Returns what is to be committed, if anything is.

        Raises as `withholds`, before anything is published.
        """
        if not await self.withholds(part.file.withheld_rows for part in finished.parts):
            for part in finished.parts:
                part.file = msgspec.structs.replace(part.file, withheld_rows=0)
        adds = await self.publish(finished.parts)
        misfits = finished.misfits
        quarantine = await write_quarantine(self.store, self.next_name(), misfits) if misfits else None
        return Change(
            covers=(finished.covers,) if finished.covers else (),
            adds=adds,
            quarantines=(quarantine,) if quarantine else (),
            unproven=finished.unproven,
            read_since=finished.read_since,
            organization=self.organization,
            hidden_status=self.hidden_status,
            arrives=self.arrives,
        )

    def check(self, served: EncodedBatch) -> None:
        """Takes notice of whose rows these are, and as whom they were read.

        Raises `ContradictionError` when they are another organization's than those before.
        """
        if self.role is not None:
            self.role.note(served.sighted, served.bare)
        self.organization = same_organization(self.organization, served)

    async def withholds(self, bare_rows: Iterable[int]) -> bool:
        """Whether so many rows that came without any sensitive field did so for want of the scope.

        Raises `AccessError` where they must not be written for it, and as `Role.withholds`.
        """
        if not any(bare_rows) or (self.role is not None and not await self.role.withholds()):
            return False
        if self.refuses_withheld:
            raise AccessError(
                "the API withholds the sensitive fields from this token, and the rows that are there have them: null "
                "would stand for what it may not see. Run again with a token that has conversations:read_sensitive"
            )
        return True

    def next_name(self) -> str:
        return next(self._names)

    def new_part(self) -> TablesWriter:
        """What writes a new part of each table, where it is staged."""
        return TablesWriter(self.store, self.next_name(), self.encoder.schema, self.turns, self.row_group_bytes)

    def open(self, partition: dict[str, str], interval: Interval | None, top: Instant) -> _OpenPart:
        return _OpenPart(self.new_part(), partition, interval, top, self.clock())


class WindowWriter:
    """Writes the rows of one window, from new to old, and says what may be committed.

    A part is closed when its partition is left, at the target size, or when there are many misfits; and by `finish`,
    for which it is time when `seconds_left` have passed. What is closed covers the window from where the last commit
    ended down to the part's lower end.
    """

    def __init__(self, factory: PartsFactory, end: Instant) -> None:
        self._factory = factory
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
        """Until rows have waited for their commit for a minute; infinite when none do."""
        since = min(self._part.opened_at if self._part else inf, self._misfits_since if self._misfits else inf)
        return max(0.0, since + _OPEN_SECONDS - self._factory.clock())

    async def add(self, settled: Settled[EncodeRow], settled_from: Instant, read_since: Instant) -> Change | None:
        """Takes what a page has settled. Returns what can be committed by now, its files published."""
        # Rows held back were on an earlier page than this one.
        self._read_since = read_since if self._read_since is None else min(self._read_since, read_since)
        self._unproven += settled.unproven
        closed = await to_thread.run_sync(self._write, settled.rows, settled_from, limiter=self._factory.working)
        if self._has_bare_rows and self._factory.role is not None:
            await self._factory.role.begin()
        if closed:
            return await self._hand_over(closed, closed[-1].file.window.start)
        if sum(len(misfit.text) for misfit in self._misfits) >= _MISFIT_BYTES:
            return await self.finish(settled_from)
        return None

    async def finish(self, settled_from: Instant) -> Change | None:
        """Closes what is open: the window is read down to `settled_from`, and no further."""
        closed = await to_thread.run_sync(self._close, settled_from, limiter=self._factory.working)
        is_new = settled_from < self._uncommitted_end or self._unproven
        return await self._hand_over(closed, settled_from) if is_new else None

    def abort(self) -> None:
        """Gives up what is open."""
        if self._part is not None:
            self._part.writer.abort()
            self._part = None

    def _write(self, rows: Rows[EncodeRow], settled_from: Instant) -> list[StagedPart]:
        closed: list[StagedPart] = []
        for piece, partition, interval in _by_place(self._factory.wanted(rows), self._factory.place):
            if self._part is not None and self._part.interval != interval and self._part.interval is not None:
                closed += self._close(self._part.interval.start)
            encoded = self._factory.encoder.encode(piece)
            if not self._misfits:
                self._misfits_since = self._factory.clock()
            self._misfits += encoded.quarantined
            self._factory.check(encoded)
            self._has_bare_rows |= encoded.withheld_rows > 0
            if encoded.batch.nbytes >= _LARGE_BYTES:
                for row in piece.rows:
                    if isinstance(row, ServedRow):
                        row.drop()
            if encoded.batch.num_rows:
                self._part = self._part or self._factory.open(partition, interval, self._top)
                self._part.writer.write(encoded.batch)
                self._part.absent.update(encoded.absent)
                self._part.withheld_rows += encoded.withheld_rows
        if self._part is None:
            return closed
        if self._part.interval is not None and settled_from <= self._part.interval.start:
            closed += self._close(self._part.interval.start)
        elif self._part.writer.size_bytes >= self._factory.target_part_bytes:
            closed += self._close(settled_from)
        return closed

    def _close(self, bottom: Instant) -> list[StagedPart]:
        part = self._part
        if part is None:
            return []
        finished = part.writer.close()
        self._part = None  # only now: what cannot be closed has to be aborted
        self._top = bottom
        return finished.closed(part.partition, Interval(bottom, part.top), part.absent, part.withheld_rows)

    async def _hand_over(self, closed: list[StagedPart], bottom: Instant) -> Change | None:
        finished = StagedWindow(
            Interval(bottom, self._uncommitted_end) if bottom < self._uncommitted_end else None,
            closed,
            [misfit for misfit in self._misfits if misfit.created_at >= bottom],
            tuple(self._unproven),
            self._read_since,
        )
        self._misfits = [misfit for misfit in self._misfits if misfit.created_at < bottom]
        self._unproven = []
        self._top = self._uncommitted_end = bottom
        return await self._factory.hand_over(finished)


def _by_place(rows: Rows[EncodeRow], place: Place) -> Iterator[tuple[Rows[EncodeRow], dict[str, str], Interval | None]]:
    """Cuts rows, which run from new to old, where one place ends and the next begins."""
    done = 0
    while done < len(rows):
        partition, interval = place(rows.created_at[done])
        # The first row that is older.
        end = len(rows) if interval is None else bisect_right(rows.created_at, -interval.start, done, key=neg)
        yield rows[done:end], partition, interval
        done = end
