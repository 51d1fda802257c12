"""Rows that are read again, put aside by home until all of them are there: nothing is committed on the way."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

from exporter.contract import SECOND, Instant
from exporter.encode.batch import Encoder
from exporter.encode.rows import EncodeRow
from exporter.log.quarantine import line_of, write_quarantine
from exporter.model import Interval, QuarantineFile, Rows, Unproven
from exporter.pipeline.part_sink import PartsFactory, StagedWindow
from exporter.plan.homes import Home, Homes


def digest(line: bytes) -> bytes:
    """A hash that tells lines apart."""
    return hashlib.sha256(line).digest()


@dataclass(frozen=True, slots=True)
class SpooledPart:
    """A staged part that holds rows of one home, from new to old. `absent` and `withheld_rows`: as `model.DataFile`.

    `reading`: the number of the reading that has shown them; a later one has a higher number.
    """

    path: Path
    reading: int
    newest: Instant
    rows: int
    absent: dict[str, int]
    withheld_rows: int


@dataclass(slots=True)
class Spool:
    """What has been put aside, by the intervals of `homes`. `misfits`: of the quarantine files that rows which fit no
    column have been written to, the lines' hashes by id. `read_since`: the server's clock before the earliest page.

    `unasked`: how many rows were served that are older than what was asked for; they are dropped. `is_suspicious`:
    rows came without any sensitive field.
    """

    homes: dict[Interval, Home] = field(default_factory=dict)
    parts: dict[Interval, list[SpooledPart]] = field(default_factory=dict)
    misfits: list[tuple[QuarantineFile, dict[str, bytes]]] = field(default_factory=list)
    misfit_ids: dict[Interval, set[str]] = field(default_factory=dict)
    unproven: list[Unproven] = field(default_factory=list)
    read_since: Instant | None = None
    unasked: int = 0
    is_suspicious: bool = False

    def left_out(self) -> set[str]:
        """The fields that none of the rows came with."""
        parts = [part for home in self.parts.values() for part in home]
        absent = Counter[str]()
        for part in parts:
            absent.update(part.absent)
        rows = sum(part.rows for part in parts)
        return {name for name, count in absent.items() if count == rows}

    async def judge(self, parts: PartsFactory) -> None:
        """Counts no row as withheld where the token is shown to see what the row lacks, now that all have been served.

        Raises as `PartsFactory.withholds`.
        """
        if await parts.withholds(part.withheld_rows for home in self.parts.values() for part in home):
            return
        for interval, home in self.parts.items():
            self.parts[interval] = [replace(part, withheld_rows=0) for part in home]


class SpoolFactory(PartsFactory):
    """Puts what the windows of a reading finish into `spool`, a staged part of conversations for each home in a window.

    `parts`: how the run writes its parts. Only rows with `updated_at` not before `updated_since` are wanted, give or
    take a second.
    """

    kept = "What is there was not changed"

    def __init__(
        self,
        parts: PartsFactory,
        encoder: Encoder,
        homes: Homes,
        spool: Spool,
        *,
        reading: int,
        updated_since: Instant | None = None,
    ) -> None:
        super().__init__(
            parts.store,
            encoder,
            run=f"{parts.run}-r{reading}",
            partition_by=parts.partition_by,
            target_part_bytes=parts.target_part_bytes,
            row_group_bytes=parts.row_group_bytes,
            organization=parts.organization,
            hidden_status=parts.hidden_status,
            role=parts.role,
            refuses_withheld=parts.refuses_withheld,
            clock=parts.clock,
        )
        self._homes = homes
        self._spool = spool
        self._reading = reading
        self._updated_since = None if updated_since is None else updated_since - SECOND

    def place(self, created_at: Instant) -> tuple[dict[str, str], Interval | None]:
        home = self._homes.of(created_at)
        return home.partition, home.interval

    def wanted(self, rows: Rows[EncodeRow]) -> Rows[EncodeRow]:
        since = self._updated_since
        if since is None:
            return rows
        keep = [updated_at is None or updated_at >= since for updated_at in rows.updated_at]
        if all(keep):
            return rows
        self._spool.unasked += keep.count(False)
        return Rows(
            list(compress(rows.rows, keep)),
            list(compress(rows.created_at, keep)),
            list(compress(rows.updated_at, keep)),
        )

    async def hand_over(self, finished: StagedWindow) -> None:
        spool = self._spool
        if not spool.is_suspicious and any(part.file.withheld_rows for part in finished.parts):
            # A token that sees too little is refused before it has read everything in vain.
            spool.is_suspicious = True
            await self.withholds((1,))
        for part in finished.parts:
            file = part.file
            home = self._homes.of(file.created_at_min)
            spool.homes[home.interval] = home
            spool.parts.setdefault(home.interval, []).append(
                SpooledPart(
                    self.store.staging_file(part.name),
                    self._reading,
                    file.created_at_max,
                    file.rows,
                    file.absent,
                    file.withheld_rows,
                )
            )
        if finished.misfits:
            lines = {misfit.id: digest(line_of(misfit)) for misfit in finished.misfits}
            spool.misfits.append((await write_quarantine(self.store, self.next_name(), finished.misfits), lines))
            for misfit in finished.misfits:
                home = self._homes.of(misfit.created_at)
                spool.homes[home.interval] = home
                spool.misfit_ids.setdefault(home.interval, set()).add(misfit.id)
        spool.unproven += finished.unproven
        if finished.read_since is not None:
            spool.read_since = min(finished.read_since, spool.read_since or finished.read_since)
