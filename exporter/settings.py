"""Holds what a user asks for: the request, a run's settings and the credentials, checked before anything is sent.

`Request` decides what the dataset holds; it is stored in the first commit and cannot change for a destination.
`RunSettings` decides how it is read, and may differ from run to run. `Credentials` are never stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from itertools import product
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias, get_args

import msgspec

from exporter.bearer import Bearer, TokenSource
from exporter.contract import DEFAULT_BASE_URL, MAX_PAGE_SIZE, STATUSES, TRANSCRIPT_FIELD, Instant, format_instant
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS, TURNS, TableFormat, Values
from exporter.privacy import Encryption, Policy, Retention
from exporter.route import Proxy
from exporter.zones import UTC_NAME

PartitionBy: TypeAlias = Literal["day", "hour", "week", "month", "none"]
#: The warehouses whose SQL `exporter schema` writes.
WarehouseDialect: TypeAlias = Literal["athena", "bigquery", "snowflake", "redshift", "databricks", "clickhouse", "hive"]
WAREHOUSES: Final[tuple[WarehouseDialect, ...]] = get_args(WarehouseDialect)
SchemaFormat: TypeAlias = Literal["arrow", "json", "sql", WarehouseDialect]
FeedFormat: TypeAlias = Literal["parquet", "arrow", "jsonl"]
TextFormat: TypeAlias = Literal["csv", "jsonl"]
QueryFormat: TypeAlias = Literal["csv", "json", "parquet"]
AnswerFormat: TypeAlias = Literal["table", QueryFormat]
Compression: TypeAlias = Literal["none", "gzip", "zstd"]
TrustedClock: TypeAlias = Literal["server", "local"]
#: When rows are completed by id: if a sample shows that the list leaves fields out, not at all, or without a sample.
Hydrate: TypeAlias = Literal["auto", "never", "always"]
HYDRATIONS: Final[tuple[str, ...]] = get_args(Hydrate)
#: Who may read the files of an export: their owner alone, or also the group of its directory.
FileMode: TypeAlias = Literal["private", "group"]
FILE_MODES: Final[tuple[str, ...]] = get_args(FileMode)
PARTITIONS: Final[tuple[str, ...]] = get_args(PartitionBy)
#: Filters by name, each with its value, or with several, sorted.
Filters: TypeAlias = Mapping[str, str | tuple[str, ...]]

#: Arrow and the HTTP client alone take half of it.
LEAST_MEMORY_BYTES: Final = 256 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Says what the dataset holds. `fields` is None if every field is wanted, known or not; partitions are made in
    `timezone`.

    A filter may have several values, sorted, any of which a conversation matches. The API did not heed the
    `ignored_filters` when the export began, so that they filter nothing.
    """

    filters: Filters = msgspec.field(default_factory=dict)
    fields: tuple[str, ...] | None = None
    partition_by: PartitionBy = "day"
    tables: tuple[str, ...] = (CONVERSATIONS,)
    timezone: str = UTC_NAME
    ignored_filters: tuple[str, ...] = ()

    @property
    def common_filters(self) -> dict[str, str]:
        """Returns the filters that have one value, which all lists of the export are asked for by."""
        return {name: value for name, value in self.filters.items() if isinstance(value, str)}

    @property
    def has_several_values(self) -> bool:
        """Returns whether a filter has several values."""
        return len(self.common_filters) < len(self.filters)

    @property
    def lists(self) -> tuple[Values, ...]:
        """Returns what each of the lists is asked for by that make up the export, in the order in which a conversation
        goes through their statuses."""
        several = sorted(
            ((name, value) for name, value in self.filters.items() if not isinstance(value, str)),
            key=lambda filter_: filter_[0] != "status",
        )
        ordered = [[(name, value) for value in sorted(values, key=_stage)] for name, values in several]
        return tuple(product(*ordered))


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the request as one caller states it: None, or an absent key, means "as stored, or the default".

    `organization` is the one that the rows must belong to. `recordings` says whether runs also keep those. Unless a
    time zone was given, `in_zone` returns the same with times in this one, and raises `UsageError` for a range that is
    empty there; here they are in UTC, and not yet held against one another.
    """

    since: Instant | None = None
    until: Instant | None = None
    filters: Filters | None = None
    fields: tuple[str, ...] | None = None
    partition_by: PartitionBy | None = None
    tables: tuple[str, ...] | None = None
    table_format: TableFormat | None = None
    organization: str | None = None
    file_mode: FileMode | None = None
    recordings: bool | None = None
    timezone: str | None = None
    policy: Policy | None = None
    encryption: Encryption | None = None
    retention: Retention | None = None
    in_zone: Callable[[str], Self] | None = None

    def __post_init__(self) -> None:
        if TURNS in (self.tables or ()) and self.fields is not None and TRANSCRIPT_FIELD not in self.fields:
            raise UsageError(f"--tables: {TURNS} are made of transcripts, but the field {TRANSCRIPT_FIELD} is left out")

    def within(self, zone: str) -> Self:
        """Returns the same with times in `zone`, unless they are in one that was given. Raises as `in_zone`."""
        if self.in_zone is None:
            return self
        zoned = self.in_zone(zone)
        # Only these depend on a zone; all else stays as it was asked for.
        return msgspec.structs.replace(self, since=zoned.since, until=zoned.until, filters=zoned.filters, in_zone=None)


class RecordingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Says which recordings a run fetches, and how.

    `bytes_per_second` is for all downloads together; None means no limit. A conversation that has no recording when it
    is `wait_seconds` old will have none, and the source deletes each after `retention_seconds`, if that is known. Hosts
    and networks are as in `fetch.media.address.AddressRule`.
    """

    filters: Filters = msgspec.field(default_factory=dict)
    concurrency: int = 8
    bytes_per_second: float | None = None
    most_bytes: int = 1024**3
    wait_seconds: int = 48 * 3600
    retention_seconds: int | None = None
    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = (443,)
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 256:
            raise UsageError(f"--recording-concurrency {self.concurrency}: must be from 1 to 256")
        if self.bytes_per_second is not None and self.bytes_per_second < 1:
            raise UsageError("--recording-rate: must be at least one byte a second")
        if self.most_bytes < 1:
            raise UsageError("--max-recording-size: must be at least one byte")
        if not 0 <= self.wait_seconds <= 366 * 86_400:
            raise UsageError(f"--recordings-wait {self.wait_seconds}s: must be from 0 to 366 days")
        if self.retention_seconds is not None and not 1 <= self.retention_seconds <= 36_600 * 86_400:
            raise UsageError(f"--recording-retention {self.retention_seconds}s: must be from 1 second to 100 years")


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Says how a run reads and writes.

    `max_rps` is in requests a second; None means no ceiling. `wait_seconds` is how long an API is asked that has never
    answered. `trust_clock` names the one clock to believe; None means
    the earlier one, or neither if they differ by much. `ca_file` holds authorities that may vouch for the API
    besides the system's. With `heeds_signals`, Ctrl-C, SIGTERM and SIGHUP end the run in good order; otherwise they are
    left to the program. `hydrate` says when fields that the list leaves out are asked for by id.
    """

    base_url: str = DEFAULT_BASE_URL
    proxy: Proxy | None = None
    ca_file: Path | None = None
    lag_seconds: int = 60
    trust_clock: TrustedClock | None = None
    concurrency: int = 8
    max_rps: float | None = None
    wait_seconds: float = 10.0
    page_size: int = MAX_PAGE_SIZE
    target_part_bytes: int = 256 * 1024 * 1024
    memory_bytes: int = 384 * 1024 * 1024
    heeds_signals: bool = True
    recordings: RecordingSettings = RecordingSettings()
    hydrate: Hydrate = "auto"

    def __post_init__(self) -> None:
        if not 1 <= self.page_size <= MAX_PAGE_SIZE:
            raise UsageError(f"--page-size {self.page_size}: must be from 1 to {MAX_PAGE_SIZE}")
        if not 1 <= self.concurrency <= 1024:
            raise UsageError(f"--concurrency {self.concurrency}: must be from 1 to 1024")
        if self.max_rps is not None and not 0 < self.max_rps < float("inf"):
            raise UsageError(f"--max-rps {self.max_rps:g}: must be a number above 0")
        check_wait(self.wait_seconds, f"{self.wait_seconds:g}")
        check_lag(self.lag_seconds, f"{self.lag_seconds}s")
        if self.target_part_bytes < 1:
            raise UsageError("--part-size: must be at least one byte")
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            raise UsageError(f"--memory: must be at least {LEAST_MEMORY_BYTES // 1024**2}MiB")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Holds the token and, for a personal one, its organization. Neither `repr` nor `str` shows the token.

    `proxies` are the variables of the environment that name proxies on the way to recordings, maybe with passwords.
    `token` is the one to begin with; everything that asks the API shares the `bearer`, which has the one in use.
    """

    token: str = field(repr=False)
    organization: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    source: TokenSource | None = field(default=None, repr=False, compare=False)
    bearer: Bearer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bearer", Bearer(self.token, self.source))


def _stage(value: str) -> int:
    """Returns how far a conversation of this status has gone."""
    return STATUSES.index(value) if value in STATUSES else len(STATUSES)


def check_lag(seconds: int, given: object) -> None:
    """Raises `UsageError`, in the words that were `given`, for a lag that is out of bounds."""
    if not 0 <= seconds <= 366 * 86_400:
        raise UsageError(f"--lag {given}: must be from 0 to 366 days")


def check_wait(seconds: float, given: object) -> None:
    """Raises `UsageError`, in the words that were `given`, for a wait that is out of bounds."""
    if not 1 <= seconds <= 86_400:
        raise UsageError(f"--wait {given}: must be from 1 second to 1 day")


def check_range(
    since: Instant | None, until: Instant, advice: str = "Give an earlier --since, or a later --until"
) -> None:
    """Raises `UsageError`, which ends with `advice`, when `[since, until)` holds nothing."""
    if since is not None and since >= until:
        raise UsageError(
            f"nothing to export: the range starts at {format_instant(since)} and ends at {format_instant(until)}. "
            f"{advice}"
        )
