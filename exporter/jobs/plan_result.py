"""Holds what `exporter plan` returns: what a run would do, and what each figure rests on."""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from exporter.coverage import Period

#: Rows were counted, came from the usage summary, or were estimated from a sample.
RowsFrom: TypeAlias = Literal["count", "usage", "sample"]
#: Sizes are those of the files that exist, those of sampled rows, or not known, because no row was seen.
SizesFrom: TypeAlias = Literal["files", "sample", "nothing"]
#: The pace is the ceiling that was given, that of an earlier run, or follows from the time that a page took.
PaceFrom: TypeAlias = Literal["max-rps", "earlier run", "round trips"]


class PlannedPartition(msgspec.Struct, frozen=True, kw_only=True):
    """Names a partition that a run would add to, such as `2026-02-10`, with about how many rows and files.

    The name is empty if there is only one partition.
    """

    name: str
    rows: int
    files: int


class PlanResult(msgspec.Struct, frozen=True, kw_only=True):
    """Says what a run would do. Nothing was written.

    `command` is the one that is planned: an export of what is `missing` in the range, or a sync if all of it was read.
    It would read about `rows` that are new; in nine of ten cases, they are between `rows_low` and `rows_high`, which
    is None if nothing bounds them. A sync also reads what has `changed` since the last run; if `changed_is_least`,
    there may be more. `requests` are those of the run, of which `requests_by_id` ask for single conversations; they
    will hardly be fewer than `requests_low` or more than `requests_high`. `wire_bytes` come over the network, and
    `bytes` are written, in `files`. `seconds` are at `requests_per_second`, with a start, and with what requests in
    sequence, rows and files take. About this many conversations have one of the `recordings`, if the run keeps them;
    their `recording_bytes` are None if none is kept yet. `questions` is the number of requests that the plan itself
    took. `notes` say what it could not take into account.
    """

    command: Literal["export", "sync"]
    range_start: datetime | None
    range_end: datetime
    missing: tuple[Period, ...]
    rows: int
    rows_low: int
    rows_high: int | None
    rows_from: RowsFrom
    changed: int = 0
    changed_is_least: bool = False
    requests: int
    requests_low: int
    requests_high: int
    requests_by_id: int = 0
    wire_bytes: int
    bytes: int
    sizes_from: SizesFrom
    files: int
    partitions: tuple[PlannedPartition, ...]
    partition_by: str
    seconds: float
    seconds_low: float
    seconds_high: float
    requests_per_second: float
    pace_from: PaceFrom
    recordings: int | None = None
    recording_bytes: int | None = None
    questions: int
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        return 0
