"""Puts rows that are read again aside by home until all have been read: nothing is committed on the way."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import compress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from exporter.contract import SECOND, Instant
from exporter.coverage import Interval
from exporter.encode.rows import EncodeRow
from exporter.encode.tables import Tables
from exporter.log.quarantine import line_of
from exporter.model import QuarantineFile, Rows, Unproven
from exporter.pipeline.part_sink import StagedWindow, WindowWriter
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import write_quarantine
from exporter.pipeline.role import Guard
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import MISFIT_BYTES
from exporter.schedule.homes import Home, Homes


def digest(line: bytes) -> bytes:
    """Returns a hash that tells lines apart."""
    return hashlib.sha256(line).digest()


class SpooledPart(msgspec.Struct, frozen=True):
    """Describes a staged part with rows of one home, from new to old.

    `absent` and `withheld_rows` are as in `model.DataFile`. `reading` is the number of the reading that has shown them;
    a later one has a higher number. Parts whose rows are `is_kept` leave those of the home as they are.
    """

    path: Path
    reading: int
    newest: Instant
    rows: int
    absent: dict[str, int]
    withheld_rows: int
    is_kept: bool = False


class Spool(msgspec.Struct):
    """Holds what has been put aside, by interval. `every` finds all homes; `homes` are those that the spool is about.

    `guard` refuses rows that must not be merged. `misfits` are the quarantine files of rows that fit no column, with
    the hashes of their lines by id. `read_since` is the server's clock before the earliest page, and `hidden_status` is
    as in `Scan`. `unasked` counts rows that were served though they are older than what was asked for; they are
    dropped. `is_suspicious` says that rows came without any sensitive field.
    """

    every: Homes
    guard: Guard
    homes: dict[Interval, Home] = msgspec.field(default_factory=dict)
    parts: dict[Interval, list[SpooledPart]] = msgspec.field(default_factory=dict)
    misfits: list[tuple[QuarantineFile, dict[str, bytes]]] = msgspec.field(default_factory=list)
    misfit_ids: dict[Interval, set[str]] = msgspec.field(default_factory=dict)
    unproven: list[Unproven] = msgspec.field(default_factory=list)
    read_since: Instant | None = None
    hidden_status: str | None = None
    unasked: int = 0
    is_suspicious: bool = False

    @property
    def paths(self) -> list[Path]:
        """Returns the paths of all parts."""
        return [part.path for part in self._all_parts]

    @property
    def _all_parts(self) -> list[SpooledPart]:
        return [part for parts in self.parts.values() for part in parts]

    def left_out(self) -> set[str]:
        """Returns the fields that none of the rows came with."""
        rows = sum(part.rows for part in self._all_parts)
        return {name for name, count in count_absent(self._all_parts).items() if count == rows}

    async def judge(self) -> None:
        """Counts no row as withheld if the token turns out to see the sensitive fields, now that all have been served.

        Raises as `Guard.withholds` does.
        """
        if await self.guard.withholds(part.withheld_rows for part in self._all_parts):
            return
        for interval, parts in self.parts.items():
            self.parts[interval] = [replace(part, withheld_rows=0) for part in parts]


def count_absent(parts: Iterable[SpooledPart]) -> Counter[str]:
    """Returns the number of rows in `parts` that were served without a field, by field."""
    absent = Counter[str]()
    for part in parts:
        absent.update(part.absent)
    return absent


class SpoolSink:
    """Puts what the windows of a reading finish into `spool`, a staged part of conversations for each home in a window.

    `stage` is where the run makes its parts, and `tables` makes the rows if they differ from those of the run. From a
    scan with `updated_since`, only rows that were updated no earlier are kept, give or take a second.
    """

    kept = "The existing export was not changed"
    again = "to resume"

    def __init__(self, stage: PartStage, spool: Spool, *, reading: int, tables: Tables | None = None) -> None:
        self.stage = stage.aside(reading, tables)
        self.guard = spool.guard
        self.misfit_bytes = MISFIT_BYTES
        self._spool = spool
        self._reading = reading

    def open_window(self, end: Instant, scan: Scan) -> WindowWriter:
        return WindowWriter(self, end, scan)

    def place(self, created_at: Instant) -> tuple[dict[str, str], Interval | None]:
        home = self._spool.every.of(created_at)
        return home.partition, home.interval

    def wanted(self, rows: Rows[EncodeRow], scan: Scan) -> Rows[EncodeRow]:
        if scan.updated_since is None:
            return rows
        since = scan.updated_since - SECOND
        keep = [updated_at is None or updated_at >= since for updated_at in rows.updated_at]
        if all(keep):
            return rows
        self._spool.unasked += keep.count(False)
        return Rows(
            list(compress(rows.rows, keep)),
            list(compress(rows.created_at, keep)),
            list(compress(rows.updated_at, keep)),
        )

    async def hand_over(self, staged: StagedWindow) -> None:
        spool, store = self._spool, self.stage.store
        if not spool.is_suspicious and any(part.file.withheld_rows for part in staged.parts):
            # A token that sees too little is refused before it reads everything in vain.
            spool.is_suspicious = True
            await self.guard.withholds((1,))
        for part in staged.parts:
            file = part.file
            home = spool.every.of(file.created_at_min)
            spool.homes[home.interval] = home
            spool.parts.setdefault(home.interval, []).append(
                SpooledPart(
                    store.staging_file(part.name),
                    self._reading,
                    file.created_at_max,
                    file.rows,
                    file.absent,
                    file.withheld_rows,
                )
            )
        if staged.misfits:
            lines = {misfit.id: digest(line_of(misfit)) for misfit in staged.misfits}
            spool.misfits.append((await write_quarantine(store, self.stage.next_name(), staged.misfits), lines))
            for misfit in staged.misfits:
                home = spool.every.of(misfit.created_at)
                spool.homes[home.interval] = home
                spool.misfit_ids.setdefault(home.interval, set()).add(misfit.id)
        spool.unproven += staged.unproven
        spool.hidden_status = staged.hidden_status or spool.hidden_status
        if staged.read_since is not None:
            spool.read_since = min(staged.read_since, spool.read_since or staged.read_since)
