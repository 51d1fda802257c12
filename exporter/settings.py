"""What a user asks for: the export's request, the run's settings and the credentials, checked before the first request.

`Request` decides what the dataset holds; it is stored in the first commit and cannot change for a destination.
`RunSettings` decides how it is read, and may differ from run to run. `Credentials` are never stored.
"""

import json
import os
import re
import ssl
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from exporter.contract import (
    ALWAYS_FIELDS,
    BEGINNING,
    DEFAULT_BASE_URL,
    END_OF_TIME,
    FIELD_NAMES,
    FILTERS_BY_NAME,
    MAX_PAGE_SIZE,
    MICROSECOND,
    ORGANIZATION_VARIABLE,
    PERSONAL_TOKEN_PREFIX,
    RESERVED_PARAMETERS,
    SECOND,
    TOKEN_PREFIXES,
    TOKEN_VARIABLE,
    TRANSCRIPT_FIELD,
    FilterKind,
    Instant,
    format_instant,
    parse_timestamp,
)
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS, TURNS, TableFormat
from exporter.route import Proxy

PartitionBy: TypeAlias = Literal["day", "hour", "month", "none"]
SchemaFormat: TypeAlias = Literal["arrow", "json", "sql"]
TrustedClock: TypeAlias = Literal["server", "local"]
PARTITIONS: Final[tuple[str, ...]] = get_args(PartitionBy)

_RELATIVE = re.compile(r"(\d{1,9})([smhdw])")
_RELATIVE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d{1,15})\s*(|B|kB|MB|GB|KiB|MiB|GiB)", re.ASCII | re.IGNORECASE)
_SIZE_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

#: Arrow and the HTTP client alone take half of it.
LEAST_MEMORY_BYTES: Final = 256 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the dataset holds. `fields` is None when every field is wanted, known or not."""

    filters: dict[str, str] = msgspec.field(default_factory=dict)
    fields: tuple[str, ...] | None = None
    partition_by: PartitionBy = "day"
    tables: tuple[str, ...] = (CONVERSATIONS,)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The request as one command line states it: None, or an absent key, is "as stored, or the default"."""

    since: Instant | None = None
    until: Instant | None = None
    filters: dict[str, str] | None = None
    fields: tuple[str, ...] | None = None
    partition_by: PartitionBy | None = None
    tables: tuple[str, ...] | None = None
    table_format: TableFormat | None = None

    def __post_init__(self) -> None:
        if TURNS in (self.tables or ()) and self.fields is not None and TRANSCRIPT_FIELD not in self.fields:
            raise UsageError(f"--tables: {TURNS} are made of transcripts: the field {TRANSCRIPT_FIELD} is left out")


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a run reads and writes. `max_rps`: requests a second, None for no ceiling. `trust_clock`: the one clock to
    believe; None: the earlier one, and none where they differ by much.

    `ssl_context` verifies the API's certificate; None: by the system's authorities. `heeds_signals`: Ctrl-C and
    SIGTERM end the run in good order; else they are left to whoever has the process.
    """

    base_url: str = DEFAULT_BASE_URL
    proxy: Proxy | None = None
    ssl_context: ssl.SSLContext | None = None
    lag_seconds: int = 60
    trust_clock: TrustedClock | None = None
    concurrency: int = 8
    max_rps: float | None = None
    page_size: int = MAX_PAGE_SIZE
    target_part_bytes: int = 256 * 1024 * 1024
    memory_bytes: int = 384 * 1024 * 1024
    heeds_signals: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.page_size <= MAX_PAGE_SIZE:
            raise UsageError(f"--page-size {self.page_size}: has to be from 1 to {MAX_PAGE_SIZE}")
        if not 1 <= self.concurrency <= 1024:
            raise UsageError(f"--concurrency {self.concurrency}: has to be from 1 to 1024")
        if self.max_rps is not None and not 0 < self.max_rps < float("inf"):
            raise UsageError(f"--max-rps {self.max_rps}: has to be a number above 0")
        if not 0 <= self.lag_seconds <= 366 * 86_400:
            raise UsageError(f"--lag {self.lag_seconds}: has to be from 0 to {366 * 86_400} seconds")
        if self.target_part_bytes < 1:
            raise UsageError("--part-size: has to be at least one byte")
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            raise UsageError(f"--memory: has to be at least {LEAST_MEMORY_BYTES // 1024**2}MiB")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The token and, for a personal one, its organization. Neither `repr` nor `str` shows the token."""

    token: str = field(repr=False)
    organization: str | None = None


def parse_time(text: str, now: Instant, option: str) -> Instant:
    """The instant that `--since` or `--until` names: ISO 8601 (without an offset UTC), or an age such as `7d`, `36h`.

    Raises `UsageError`, naming `option`.
    """
    if relative := _RELATIVE.fullmatch(text.strip()):
        instant = now - int(relative.group(1)) * _RELATIVE_SECONDS[relative.group(2)] * SECOND
    else:
        try:
            instant = parse_timestamp(text.strip())
        except ValueError as error:
            raise UsageError(
                f"{option} {text!r}: {error}. Write a time as 2026-02-10, 2026-02-10T05:00:00Z, or an age as 7d, 36h"
            ) from error
    if not BEGINNING < instant < END_OF_TIME:
        raise UsageError(f"{option} {text!r}: outside the years 1 to 9999")
    return instant


def check_range(since: Instant | None, until: Instant) -> None:
    """Raises `UsageError` when `[since, until)` holds nothing."""
    if since is not None and since >= until:
        raise UsageError(
            f"nothing to export: the range starts at {format_instant(since)} and ends at {format_instant(until)}"
        )


def check_filter(name: str, value: str) -> str:
    """The value to send for a filter under its own name. Raises `UsageError` for what the API would not understand."""
    known = FILTERS_BY_NAME[name]
    option = "--" + name.replace("_", "-")
    match known.kind:
        case FilterKind.CHOICE if value not in known.choices:
            raise UsageError(
                f"{option} {value!r}: known values are {', '.join(known.choices)}. "
                f"For a newer one, pass it unchecked: --filter {name}={value}"
            )
        case FilterKind.INTEGER if re.fullmatch(r"-?\d{1,18}", value, re.ASCII) is None:
            raise UsageError(f"{option} {value!r}: has to be a whole number")
        case FilterKind.METADATA:
            try:
                is_object = isinstance(json.loads(value), dict)
            except (ValueError, RecursionError):
                is_object = False
            if not is_object:
                raise UsageError(f'{option} {value!r}: has to be a JSON object, as \'{{"order_id": "123"}}\'')
        case FilterKind.TIME if _RELATIVE.fullmatch(value.strip()):
            raise UsageError(f"{option} {value!r}: has to be a time, not an age, for it is stored with the export")
        case FilterKind.TIME:
            return format_instant(parse_time(value, 0, option))
        case FilterKind.TEXT if not value:
            raise UsageError(f"{option}: has to have a value")
    return value


def parse_raw_filter(text: str) -> tuple[str, str]:
    """`name=value` of `--filter`, sent as it is. Raises `UsageError` for a name the walk itself needs."""
    name, equals, value = text.partition("=")
    if not equals or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.\[\]-]*", name) is None:
        raise UsageError(f"--filter {text!r}: has to be name=value")
    if name in RESERVED_PARAMETERS:
        raise UsageError(
            f"--filter {name}: the exporter sets this itself; use --since, --until, --page-size or --fields"
        )
    return name, value


def choose_filters(named: Mapping[str, Sequence[str]], raw: Sequence[str]) -> dict[str, str] | None:
    """The query parameters of the filter options, by name, and of every `--filter`; None when there is none.

    Raises `UsageError` for a value that `check_filter` refuses, and for a filter that is given twice: which of them
    the API would heed is unknown.
    """
    given = [(name, check_filter(name, value)) for name, values in named.items() for value in values]
    given += map(parse_raw_filter, raw)
    filters: dict[str, str] = {}
    for name, value in given:
        if name in filters:
            raise UsageError(f"the filter {name} is given twice: {filters[name]!r} and {value!r}")
        filters[name] = value
    return filters or None


def choose_range(
    since: str | None, until: str | None, created_after: str | None, created_before: str | None, now: Instant
) -> tuple[Instant | None, Instant | None]:
    """The half-open range of `created_at`, under our names for its ends or under the API's, whose ends are inclusive.

    Raises `UsageError` for an unreadable time, for an end given under both names, and for a range that holds nothing.
    """
    start = _parse_either(now, ("--since", since), ("--created-after", created_after))
    end = _parse_either(now, ("--until", until), ("--created-before", created_before))
    if end is not None:
        if created_before is not None:
            end = min(end + MICROSECOND, END_OF_TIME - MICROSECOND)
        check_range(start, end)
    return start, end


def _parse_either(now: Instant, *options: tuple[str, str | None]) -> Instant | None:
    given = [(option, text) for option, text in options if text is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(option for option, _ in given)}: give one of them")
    return parse_time(given[0][1], now, given[0][0]) if given else None


def parse_size(text: str, option: str) -> int:
    """Bytes, from `1000000`, `256MB` or `256MiB`. Raises `UsageError`, naming `option`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r}: write a size as 256MB, 1GiB, or a number of bytes")
    return int(match.group(1)) * _SIZE_BYTES[match.group(2).lower()]


def choose_fields(only: str | None, without: str | None) -> tuple[str, ...] | None:
    """The fields to ask for, in the API's order, or None for all; those of `ALWAYS_FIELDS` are among them.

    Raises `UsageError` for both options at once, an unknown name, or an exclusion of what is always asked for.
    """
    if only is None and without is None:
        return None
    if only is not None and without is not None:
        raise UsageError("--fields and --exclude-fields: give one of them")
    option, text = ("--fields", only) if only is not None else ("--exclude-fields", without)
    names = {name.strip() for name in (text or "").split(",")} - {""}
    if not names:
        raise UsageError(f"{option}: has to name a field")
    if unknown := sorted(names - set(FIELD_NAMES)):
        raise UsageError(f"{option}: no such field: {', '.join(unknown)}. The fields are {', '.join(FIELD_NAMES)}")
    if only is not None:
        return tuple(name for name in FIELD_NAMES if name in names or name in ALWAYS_FIELDS)
    if needed := [name for name in ALWAYS_FIELDS if name in names]:
        raise UsageError(f"--exclude-fields: {', '.join(needed)} cannot be left out")
    return tuple(name for name in FIELD_NAMES if name not in names)


def load_credentials(
    environment: Mapping[str, str], token_file: Path | None = None, organization: str | None = None
) -> Credentials:
    """The token from `--token-file` or `ANYREACH_TOKEN`, and the organization a personal token needs.

    Raises `UsageError` when there is none, when others can read the file, or when a `pat_` has no organization
    (api.md, Request: it would be answered 401).
    """
    token = _read_token(token_file) if token_file else environment.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise UsageError(f"no token: set {TOKEN_VARIABLE}, or give --token-file")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError("the token holds a character that no header can carry; was it pasted whole?")
    organization = organization or environment.get(ORGANIZATION_VARIABLE, "").strip() or None
    if organization and not all(" " <= character <= "~" for character in organization):
        raise UsageError("the organization id holds a character that no header can carry")
    if token.startswith(PERSONAL_TOKEN_PREFIX) and not organization:
        raise UsageError(
            f"a personal token (pat_) needs its organization: set {ORGANIZATION_VARIABLE}, or give --org-id"
        )
    return Credentials(token, organization)


def _read_token(path: Path) -> str:
    if str(path).startswith(TOKEN_PREFIXES) and not path.exists():
        raise UsageError("--token-file: has to name a file that holds the token, and is not the token itself")
    try:
        with open(path, encoding="utf-8", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"--token-file {path}: not a regular file")
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(f"--token-file {path}: others can read it; run: chmod 600 {path}")
            token = file.read(65_536).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"--token-file {path}: {reason}") from error
    if not token:
        raise UsageError(f"--token-file {path}: holds no token")
    return token


def _open_at_once(path: str, flags: int) -> int:
    # A pipe that nobody writes to would be waited for without a word.
    return os.open(path, flags | os.O_NONBLOCK)
