"""Holds everything that a report shows, as plain values: counts, seconds, shares, and ids of agents. No value of a
conversation is in it, no number, no text, and nothing of the time at which it is made.

Instants are ISO 8601 texts with the offset of the report's time zone, days are `YYYY-MM-DD` in that zone, durations are
in seconds, shares from 0 to 1. Names that the API gave (agents, statuses, tools) are texts of at most `NAME_CHARACTERS`
that may hold anything, markup too; None stands for rows that have none. Everything is in a fixed order.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from exporter.report.trust_model import Band as Band
from exporter.report.trust_model import BandKind as BandKind
from exporter.report.trust_model import Check as Check
from exporter.report.trust_model import Coverage as Coverage
from exporter.report.trust_model import Doubt as Doubt
from exporter.report.trust_model import Filter as Filter
from exporter.report.trust_model import Protection as Protection
from exporter.report.trust_model import Run as Run
from exporter.report.trust_model import Span as Span
from exporter.report.trust_model import Trust as Trust

#: Names of the API are cut here.
NAME_CHARACTERS: Final = 100
#: The hours of a week, from Monday, 0 o'clock.
WEEK_HOURS: Final = 168

Grain: TypeAlias = Literal["day", "week", "month", "year"]
#: A day is `whole` if all of it is covered and nothing in it is in doubt; it is `cut` if the range begins or ends in it
#: and all else is well; `doubtful` if rows in it are unproven or in quarantine; and it has a
#: `hole` if some of it has not been read. What has `expired` was taken away because of its age.
DayState: TypeAlias = Literal["whole", "cut", "doubtful", "hole", "expired"]


class Absent(msgspec.Struct, frozen=True):
    """Stands for a section that cannot be shown, and says why, in a sentence without a full stop."""

    reason: str


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """Says how many conversations a day has, and whether these are all. `covered_share` is that of the part of the day
    that lies in the range; `ends_at` is when the range ends in it, if it does."""

    day: str
    weekday: str
    conversations: int
    state: DayState
    covered_share: float
    starts_at: str | None = None
    ends_at: str | None = None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Holds a value for each period of a section; None where there is none. `is_rest` says that it sums up all names
    that have no series of their own."""

    name: str | None
    values: tuple[float | None, ...]
    is_rest: bool = False


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Counts conversations by period and by `by`, from the most to the fewest. `periods` are the first days of days,
    weeks, months or years, without a gap. `total` has the sum of all for each period."""

    grain: Grain
    by: str
    periods: tuple[str, ...]
    series: tuple[Series, ...]
    total: tuple[int, ...]


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the rows with a name. `is_rest` says that it sums up all names that are not listed."""

    name: str | None
    count: int
    share: float
    is_rest: bool = False


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Counts values from `low` up to `high`, which is excluded, and None in the last one."""

    low: float
    high: float | None
    count: int


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Describes values: `missing` counts rows without one. Of a quantile, as many values as it says are no larger;
    it is a value that occurs, except that large ones are rounded down by at most 0.2 percent."""

    count: int
    missing: int
    p50: float | None
    p95: float | None
    maximum: float | None
    bins: tuple[Bin, ...]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Sums up the conversations of one value of a column, or of one version of an agent, whose id then is `agent_id`.

    What is not in the export is None: durations are in seconds, latencies (end to end) too, and `interruption_rate` is
    the share of the agent's messages that were interrupted, None without a voice. `is_rest` says that it sums up all
    that are not listed.
    """

    name: str | None
    conversations: int
    share: float
    agent_id: str | None = None
    duration_p50: float | None = None
    duration_p95: float | None = None
    user_turns_p50: float | None = None
    user_turns_p95: float | None = None
    latency_count: int | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    interruption_rate: float | None = None
    is_rest: bool = False


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Holds, for each period, the number of values and two quantiles; None where there is no value."""

    periods: tuple[str, ...]
    counts: tuple[int, ...]
    p50: tuple[float | None, ...]
    p95: tuple[float | None, ...]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """Sums up the calls of a tool: `errors` are outputs that say so, and `unanswered` calls have no output. Its
    durations, in seconds, are from a call to its output, for `timed` calls whose times are both known."""

    name: str | None
    calls: int
    errors: int
    unanswered: int
    timed: int
    duration_p50: float | None
    duration_p95: float | None
    is_rest: bool = False


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """Describes what transcripts say. `messages` are those of agents; `interruptions` counts the interrupted ones.

    `periods` are those of the values by period. `latency` is from the end of the user's turn to the beginning of the
    agent's. `confidence` is that of the
    transcription of what users said, from 0 to 1.
    """

    grain: Grain
    periods: tuple[str, ...]
    items: int
    messages: int
    interrupted: int
    latency: Distribution | Absent
    latency_by_period: Quantiles | Absent
    interruption_by_period: Series | Absent
    confidence: Distribution | Absent
    tools: tuple[Tool, ...] | Absent


class Recordings(msgspec.Struct, frozen=True, kw_only=True):
    """Counts recordings by period, and in all. `kept` ones are stored; `lost` ones are gone at the source or were
    refused; `left` ones are tried again by the next run. `unlisted` counts those of the whole export that no row names
    yet; None if nobody knows. `statuses` count the rows."""

    grain: Grain
    periods: tuple[str, ...]
    kept: tuple[int, ...]
    lost: tuple[int, ...]
    left: tuple[int, ...]
    bytes: tuple[int, ...]
    statuses: tuple[Count, ...]
    unlisted: int | None
    media_files: int
    media_bytes: int


class TableFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Sums up the files of a table; `small_files` have fewer bytes than the section says."""

    table: str
    files: int
    rows: int
    bytes: int
    small_files: int
    partitions: int


class PartitionFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Sums up the files of a partition, over all tables; `name` is that of its directory, empty if there is one."""

    name: str
    files: int
    small_files: int
    rows: int
    bytes: int


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Says what the export had after the last run that left it at this generation."""

    generation: int
    at: str
    rows: int
    files: int
    bytes: int


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the files. `partitions` are the latest of `partitions_count`, in order of time, and `growth` has points
    from the first run to the last, evenly chosen if there are many. `small_bytes` is the size below which a file is
    small, and it counts as such only where its partition has several of a table, which `exporter compact` can join."""

    small_bytes: int
    tables: tuple[TableFiles, ...]
    partitions: tuple[PartitionFiles, ...]
    partitions_count: int
    growth: tuple[Growth, ...] | Absent


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Holds everything that a report of an export shows.

    `since` and `until` bound the conversations that it looks at, and are those of the export's range unless others were
    asked for (`is_narrowed`); `since` is None if the range has no beginning. `trust` and `files` are about all of the
    export, everything else about these `conversations`. `days` are the latest in order of time, up to the one in which
    `until` lies, and `days_count` all. `groups` are by `by`; `versions` are those of agents; both from the most
    conversations to the fewest, with the rest in the last. `notes` say what a reader must know of the figures.
    """

    destination: str
    generation: int
    software: str
    timezone: str
    since: str | None
    until: str
    is_narrowed: bool
    by: str
    conversations: int
    trust: Trust
    days: tuple[Day, ...]
    days_count: int
    volume: Volume | Absent
    week: tuple[int, ...] | Absent
    statuses: tuple[Count, ...] | Absent
    durations: Distribution | Absent
    user_turns: Distribution | Absent
    groups: tuple[Group, ...] | Absent
    versions: tuple[Group, ...] | Absent
    turns: Turns | Absent
    recordings: Recordings | Absent
    files: Files
    notes: tuple[str, ...] = ()
