"""Parses values of options that are typed as text, and checks those that a program gives."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from exporter.contract import (
    ALWAYS_FIELDS,
    BEGINNING,
    END_OF_TIME,
    FIELD_NAMES,
    FILTERS_BY_NAME,
    MICROSECOND,
    RESERVED_PARAMETERS,
    SECOND,
    FilterKind,
    Instant,
    format_instant,
    parse_timestamp,
)
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS, TABLES, TableFormat, TableKind
from exporter.settings import check_range

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RELATIVE = re.compile(r"(\d{1,9})([smhdw])")
_RELATIVE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d{1,15})\s*(|B|kB|MB|GB|KiB|MiB|GiB)", re.ASCII | re.IGNORECASE)
_SIZE_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def to_instant(value: str | date, now: Instant, option: str) -> Instant:
    """Returns the instant that an ISO 8601 text, an age such as `7d` or `36h`, a date or a datetime names.

    An age counts back from `now`; a time without an offset or zone is in UTC. Raises `UsageError`, naming `option`.
    """
    if isinstance(value, datetime):
        instant = ((value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
    elif isinstance(value, date):
        instant = (value - _EPOCH.date()) // timedelta(microseconds=1)
    elif relative := _RELATIVE.fullmatch(value.strip()):
        instant = now - int(relative.group(1)) * _RELATIVE_SECONDS[relative.group(2)] * SECOND
    else:
        try:
            instant = parse_timestamp(value.strip())
        except ValueError as error:
            raise UsageError(
                f"{option} {value!r}: {error}. Write a time as 2026-02-10, 2026-02-10T05:00:00Z, or an age as 7d, 36h"
            ) from error
    if not BEGINNING < instant < END_OF_TIME:
        raise UsageError(f"{option} {str(value)!r}: outside the years 1 to 9999")
    return instant


def to_age(text: str, now: Instant, option: str) -> Instant:
    """Returns the instant that an age such as `36h` or `7d` names. Raises `UsageError`, naming `option`."""
    if _RELATIVE.fullmatch(text.strip()) is None:
        raise UsageError(f"{option} {text!r}: must be an age, such as 36h or 7d")
    return to_instant(text, now, option)


def flag_of(name: str) -> str:
    """Returns the flag of an option, which is its name with dashes."""
    return "--" + name.replace("_", "-")


def parse_filter(name: str, text: str) -> str | int:
    """Returns the typed value of a filter that has a flag of its own, as `ExportSpec` takes it. Raises `UsageError`."""
    if FILTERS_BY_NAME[name].kind is not FilterKind.INTEGER:
        return text
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) is None:
        raise UsageError(f"{flag_of(name)} {text!r}: must be a whole number")
    return int(text)


def check_filter(name: str, value: Any) -> str:
    """Returns the query parameter of a filter that has a flag of its own.

    Raises `UsageError` for a value that the API cannot understand.
    """
    known, option = FILTERS_BY_NAME[name], flag_of(name)
    match known.kind:
        case FilterKind.CHOICE if value not in known.choices:
            raise UsageError(
                f"{option} {value!r}: known values are {', '.join(known.choices)}. "
                f"To send a newer one unchecked, give --filter {name}={value}"
            )
        case FilterKind.INTEGER if len(str(value).lstrip("-")) > 18:
            raise UsageError(f"{option} {value}: must have at most 18 digits")
        case FilterKind.METADATA:
            return _metadata(value, option)
        case FilterKind.TIME if isinstance(value, str) and _RELATIVE.fullmatch(value.strip()):
            raise UsageError(f"{option} {value!r}: must be a time, not an age, because it is stored with the export")
        case FilterKind.TIME:
            return format_instant(to_instant(value, 0, option))
        case FilterKind.TEXT if not value:
            raise UsageError(f"{option}: must have a value")
    return str(value)


def _metadata(value: Mapping[str, Any] | str, option: str) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(dict(value))
        if isinstance(json.loads(text), dict):
            return text
    except (TypeError, ValueError, RecursionError):
        text = str(value)
    raise UsageError(f'{option} {text!r}: must be a JSON object, such as \'{{"order_id": "123"}}\'')


def parse_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Returns the typed values of `--filter`, each a `name=value`, as a mapping. Raises `UsageError`."""
    parameters: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--filter {text!r}: must be name=value")
        _add(parameters, name, value)
    return parameters


def choose_filters(named: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, str] | None:
    """Returns the query parameters of all filters: those in `named`, checked, and `parameters`, as they are.

    A value of None in `named` means that the filter is not given; the result is None if no filter is. Raises
    `UsageError` for a value that `check_filter` refuses, for a name that the walk itself needs, and for a filter that
    is given twice, because nobody knows which of the two the API would heed.
    """
    filters = {name: check_filter(name, value) for name, value in named.items() if value is not None}
    for name, value in parameters.items():
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.\[\]-]*", name) is None:
            raise UsageError(f"--filter {f'{name}={value}'!r}: must be name=value")
        if name in RESERVED_PARAMETERS:
            raise UsageError(
                f"--filter {name}: the exporter sets this itself; use --since, --until, --page-size or --fields"
            )
        _add(filters, name, str(value))
    return filters or None


def _add(filters: dict[str, str], name: str, value: str) -> None:
    if name in filters:
        raise given_twice(name, filters[name], value)
    filters[name] = value


def given_twice(name: str, first: str, second: str) -> UsageError:
    """Returns the error of a filter that has two values."""
    return UsageError(f"the filter {name} is given twice: {first!r} and {second!r}")


def choose_range(
    since: str | date | None,
    until: str | date | None,
    created_after: str | date | None,
    created_before: str | date | None,
    now: Instant,
) -> tuple[Instant | None, Instant | None]:
    """Returns the half-open range of `created_at`. The ends `created_after` and `created_before` are both included.

    Raises `UsageError` for an unreadable time, an end that is given under both names, and an empty range.
    """
    start = _either(now, ("--since", since), ("--created-after", created_after))
    end = _either(now, ("--until", until), ("--created-before", created_before))
    if end is not None:
        if created_before is not None:
            end = min(end + MICROSECOND, END_OF_TIME - MICROSECOND)
        check_range(start, end)
    return start, end


def _either(now: Instant, *options: tuple[str, str | date | None]) -> Instant | None:
    given = [(option, value) for option, value in options if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(option for option, _ in given)}: give only one of them")
    return to_instant(given[0][1], now, given[0][0]) if given else None


def to_bytes(size: int | str, option: str) -> int:
    """Returns a number of bytes, which may be given as a text such as `256MB` or `256MiB`. Raises `UsageError`."""
    match = _SIZE.fullmatch(str(size).strip())
    if match is None:
        raise UsageError(f"{option} {size!r}: write a size as 256MB, 1GiB, or a number of bytes")
    return int(match.group(1)) * _SIZE_BYTES[match.group(2).lower()]


def choose_fields(only: Sequence[str] | str | None, without: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Returns the fields to ask for, in the API's order, including `ALWAYS_FIELDS`; None means all fields.

    Raises `UsageError` if both are given, for an unknown name, and if a field is excluded that is always asked for.
    """
    if only is not None and without is not None:
        raise UsageError("--fields and --exclude-fields: give only one of them")
    if only is not None:
        names = {*_names("--fields", "field", only, FIELD_NAMES), *ALWAYS_FIELDS}
        return tuple(name for name in FIELD_NAMES if name in names)
    if without is None:
        return None
    names = _names("--exclude-fields", "field", without, FIELD_NAMES)
    if needed := [name for name in ALWAYS_FIELDS if name in names]:
        raise UsageError(f"--exclude-fields: {', '.join(needed)} cannot be left out")
    return tuple(name for name in FIELD_NAMES if name not in names)


def choose_tables(tables: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Returns the tables to write, in the order of `TABLES`; None if none are named.

    Raises `UsageError` for an unknown name, and without conversations, which the others are kept in step with.
    """
    if tables is None:
        return None
    names = _names("--tables", "table", tables, TABLES)
    if CONVERSATIONS not in names:
        raise UsageError(f"--tables: {CONVERSATIONS} cannot be left out")
    return tuple(name for name in TABLES if name in names)


def _names(option: str, what: str, value: Sequence[str] | str, known: Sequence[str]) -> set[str]:
    names = {str(name).strip() for name in (value.split(",") if isinstance(value, str) else value)} - {""}
    if not names:
        raise UsageError(f"{option}: must name a {what}")
    if unknown := sorted(names - set(known)):
        raise UsageError(f"{option}: no such {what}: {', '.join(unknown)}. The {what}s are {', '.join(known)}")
    return names


def choose_table_format(kind: TableKind | None, catalog: str | None) -> TableFormat | None:
    """Returns the format that `--table-format` and `--iceberg-catalog` name, if any. Raises `UsageError`."""
    if catalog is None:
        return None if kind is None else TableFormat(kind=kind)
    match = re.fullmatch(r"([A-Za-z0-9_-]+)(?:/([A-Za-z0-9_.-]+))?", catalog, re.ASCII)
    if match is None:
        raise UsageError(f"--iceberg-catalog {catalog!r}: write it as CATALOG or CATALOG/NAMESPACE")
    if kind != "iceberg":
        raise UsageError("--iceberg-catalog: give it together with --table-format iceberg")
    name, namespace = match.groups()
    return TableFormat(kind=kind, catalog=name, **({} if namespace is None else {"namespace": namespace}))


def parse_share(text: str) -> float:
    """Returns the share that `--sample` names, above 0 and up to 1. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*%", text.strip(), re.ASCII)
    if match is None or not 0 < float(match.group(1)) <= 100:
        raise UsageError(f"--sample {text!r}: write a share as 10%; it must be above 0 and at most 100%")
    return float(match.group(1)) / 100
