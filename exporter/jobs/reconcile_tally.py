"""Counts the stored conversations by day, kind, direction and stage, as the platform's summary may count them.

Only the few columns that tell these are read, a row group at a time. A day may be that of the beginning or of the end
of a conversation, and in any of several time zones: what is kept in memory is a few numbers for each of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import CHANNELS, DIRECTIONS, HIDDEN_STATUS, MINUTE, OPEN_STATUSES, SECOND
from exporter.model import DataFile
from exporter.partitions import local_day
from exporter.parts.columns import SORT_COLUMN
from exporter.parts.reader import read_batches

#: Says which moment decides the day of a conversation.
Moment: TypeAlias = Literal["created", "ended"]
#: The columns that tell more than a time, each of which an export may lack.
TELLING_COLUMNS: Final = ("channel", "direction", "status", "duration")
#: All days of all time zones begin at a multiple of this.
_QUARTER: Final = 15 * MINUTE
#: No conversation lasts longer, in seconds: about three years.
_LONGEST_SECONDS: Final = 10**8
_STAGES: Final = (HIDDEN_STATUS, *(status for status in OPEN_STATUSES if status != HIDDEN_STATUS))


class Facet(NamedTuple):
    """Tells conversations apart that may count differently. A channel or a direction is None if it is not known.

    One that is hidden was never begun (`contract.HIDDEN_STATUS`), and one that is open was begun and was not over.
    """

    channel: str | None
    direction: str | None
    is_hidden: bool = False
    is_open: bool = False


@dataclass(slots=True)
class Sums:
    """Adds up conversations, their seconds, and the minutes to which each alone is rounded up."""

    rows: int = 0
    seconds: int = 0
    minutes_up: int = 0


#: What there is on each day, counted since 1970.
Days: TypeAlias = dict[int, dict[Facet, Sums]]


@dataclass(slots=True)
class Tally:
    """Holds what is stored by day, in each of the `zones`, and by each moment that may decide the day.

    `readable` are those of `TELLING_COLUMNS` that were read. The longest conversation took `longest_seconds`.
    """

    zones: tuple[str, ...]
    readable: frozenset[str]
    by: dict[tuple[str, Moment], Days] = field(default_factory=dict)
    longest_seconds: int = 0

    def days(self, zone: str, moment: Moment) -> Days:
        return self.by.get((zone, moment), {})

    @property
    def moments(self) -> tuple[Moment, ...]:
        return ("created", "ended") if "duration" in self.readable else ("created",)

    def add_parts(self, parts: Iterable[Path]) -> None:
        """Adds the rows of whole parts. Blocks. Raises `StoreError`."""
        columns = [SORT_COLUMN, *(name for name in TELLING_COLUMNS if name in self.readable)]
        for batch in read_batches(parts, columns):
            self.add(batch)

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self.longest_seconds = max(self.longest_seconds, pc.max(_seconds(batch)).as_py() or 0)
        for moment in self.moments:
            for quarter, facet, sums in _grouped(batch, moment):
                for zone in self.zones:
                    self._sums(zone, moment, _day_of(quarter, zone), facet, sums)

    def add_file(self, file: DataFile, zone: str) -> None:
        """Adds rows that cannot be read, all of one day, as the log counts them."""
        facet = Facet(None, None)
        self._sums(zone, "created", local_day(file.created_at_min, zone), facet, Sums(file.rows))

    def _sums(self, zone: str, moment: Moment, day: int, facet: Facet, more: Sums) -> None:
        sums = self.by.setdefault((zone, moment), defaultdict(dict))[day].setdefault(facet, Sums())
        sums.rows += more.rows
        sums.seconds += more.seconds
        sums.minutes_up += more.minutes_up


def is_of_one_day(file: DataFile, zone: str) -> bool:
    """Returns whether all rows of a part were created on one day."""
    return local_day(file.created_at_min, zone) == local_day(file.created_at_max, zone)


def _grouped(batch: pa.RecordBatch, moment: Moment) -> Iterator[tuple[int, Facet, Sums]]:
    """Yields the sums of a batch by facet and quarter of an hour, counted since 1970."""
    seconds = _seconds(batch)
    at = batch.column(SORT_COLUMN).cast(pa.int64())
    if moment == "ended":
        at = pc.add(at, pc.multiply(seconds, SECOND))
    columns = {
        "quarter": _quarters(at),
        "channel": _among(batch, "channel", CHANNELS),
        "direction": _among(batch, "direction", DIRECTIONS),
        "status": _among(batch, "status", _STAGES),
        "seconds": seconds,
        "minutes": pc.divide(pc.add(seconds, 59), 60),
    }
    keys = ["quarter", "channel", "direction", "status"]
    wanted: Sequence[tuple[object, str]] = [([], "count_all"), ("seconds", "sum"), ("minutes", "sum")]
    groups = pa.table(columns).group_by(keys, use_threads=False).aggregate(wanted)
    for row in groups.to_pylist():
        facet = Facet(
            CHANNELS[row["channel"]] if row["channel"] >= 0 else None,
            DIRECTIONS[row["direction"]] if row["direction"] >= 0 else None,
            is_hidden=row["status"] == 0,
            is_open=row["status"] > 0,
        )
        yield row["quarter"], facet, Sums(row["count_all"], row["seconds_sum"], row["minutes_sum"])


def _quarters(at: pa.Array) -> pa.Array:
    # Arrow's division rounds towards zero, and times may lie before 1970.
    below = pc.cast(pc.less(at, 0), pa.int64())
    return pc.subtract(pc.divide(pc.add(at, below), _QUARTER), below)


def _seconds(batch: pa.RecordBatch) -> pa.Array:
    if "duration" not in batch.schema.names:
        return pa.array([0] * batch.num_rows, pa.int64())
    known = pc.fill_null(batch.column("duration").cast(pa.int64()), 0)
    return pc.max_element_wise(pc.min_element_wise(known, _LONGEST_SECONDS), 0)


def _among(batch: pa.RecordBatch, name: str, values: Collection[str]) -> pa.Array:
    """Returns the position of each value among `values`; -1 if it is none of them, or not known."""
    if name not in batch.schema.names:
        return pa.array([-1] * batch.num_rows, pa.int32())
    return pc.fill_null(pc.index_in(batch.column(name), pa.array(values, pa.string())), -1)


@lru_cache(maxsize=65_536)
def _day_of(quarter: int, zone: str) -> int:
    return local_day(quarter * _QUARTER, zone)
