"""Holds what a user asks for: the request, a run's settings and the credentials, checked before anything is sent.

`Request` decides what the dataset holds; it is stored in the first commit and cannot change for a destination.
`RunSettings` decides how it is read, and may differ from run to run. `Credentials` are never stored.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from exporter.contract import DEFAULT_BASE_URL, MAX_PAGE_SIZE, TRANSCRIPT_FIELD, Instant, format_instant
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS, TURNS, TableFormat
from exporter.route import Proxy

PartitionBy: TypeAlias = Literal["day", "hour", "month", "none"]
SchemaFormat: TypeAlias = Literal["arrow", "json", "sql"]
TrustedClock: TypeAlias = Literal["server", "local"]
PARTITIONS: Final[tuple[str, ...]] = get_args(PartitionBy)

#: Arrow and the HTTP client alone take half of it.
LEAST_MEMORY_BYTES: Final = 256 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Says what the dataset holds. `fields` is None if every field is wanted, known or not."""

    filters: dict[str, str] = msgspec.field(default_factory=dict)
    fields: tuple[str, ...] | None = None
    partition_by: PartitionBy = "day"
    tables: tuple[str, ...] = (CONVERSATIONS,)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the request as one caller states it: None, or an absent key, means "as stored, or the default"."""

    since: Instant | None = None
    until: Instant | None = None
    filters: dict[str, str] | None = None
    fields: tuple[str, ...] | None = None
    partition_by: PartitionBy | None = None
    tables: tuple[str, ...] | None = None
    table_format: TableFormat | None = None

    def __post_init__(self) -> None:
        if TURNS in (self.tables or ()) and self.fields is not None and TRANSCRIPT_FIELD not in self.fields:
            raise UsageError(f"--tables: {TURNS} are made of transcripts, but the field {TRANSCRIPT_FIELD} is left out")


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Says how a run reads and writes.

    `max_rps` is in requests a second; None means no ceiling. `wait_seconds` is how long an API is asked that has never
    answered. `trust_clock` names the one clock to believe; None means
    the earlier one, or neither if they differ by much. `ca_file` holds authorities that may vouch for the API
    besides the system's. With `heeds_signals`, Ctrl-C and SIGTERM end the run in good order; otherwise they are left to
    the program.
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

    def __post_init__(self) -> None:
        if not 1 <= self.page_size <= MAX_PAGE_SIZE:
            raise UsageError(f"--page-size {self.page_size}: must be from 1 to {MAX_PAGE_SIZE}")
        if not 1 <= self.concurrency <= 1024:
            raise UsageError(f"--concurrency {self.concurrency}: must be from 1 to 1024")
        if self.max_rps is not None and not 0 < self.max_rps < float("inf"):
            raise UsageError(f"--max-rps {self.max_rps}: must be a number above 0")
        if not 1 <= self.wait_seconds <= 86_400:
            raise UsageError(f"--wait {self.wait_seconds:g}: must be from 1 second to 1 day")
        if not 0 <= self.lag_seconds <= 366 * 86_400:
            raise UsageError(f"--lag {self.lag_seconds}: must be from 0 to {366 * 86_400} seconds")
        if self.target_part_bytes < 1:
            raise UsageError("--part-size: must be at least one byte")
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            raise UsageError(f"--memory: must be at least {LEAST_MEMORY_BYTES // 1024**2}MiB")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Holds the token and, for a personal one, its organization. Neither `repr` nor `str` shows the token."""

    token: str = field(repr=False)
    organization: str | None = None


def check_range(since: Instant | None, until: Instant) -> None:
    """Raises `UsageError` when `[since, until)` holds nothing."""
    if since is not None and since >= until:
        raise UsageError(
            f"nothing to export: the range starts at {format_instant(since)} and ends at {format_instant(until)}. Give "
            "an earlier --since, or a later --until"
        )
