"""The text of options, parsed."""

import json
import re
from collections.abc import Mapping, Sequence

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

_RELATIVE = re.compile(r"(\d{1,9})([smhdw])")
_RELATIVE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d{1,15})\s*(|B|kB|MB|GB|KiB|MiB|GiB)", re.ASCII | re.IGNORECASE)
_SIZE_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


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


def choose_tables(text: str | None) -> tuple[str, ...] | None:
    """The tables to write, in the order of `TABLES`; None where nothing is said.

    Raises `UsageError` for an unknown name, and without conversations, which the others are kept in step with.
    """
    if text is None:
        return None
    names = {name.strip() for name in text.split(",")} - {""}
    if unknown := sorted(names - set(TABLES)):
        raise UsageError(f"--tables: no such table: {', '.join(unknown)}. The tables are {', '.join(TABLES)}")
    if CONVERSATIONS not in names:
        raise UsageError(f"--tables: {CONVERSATIONS} cannot be left out")
    return tuple(name for name in TABLES if name in names)


def choose_table_format(kind: TableKind | None, catalog: str | None) -> TableFormat | None:
    """What `--table-format` and `--iceberg-catalog CATALOG[/NAMESPACE]` name. Raises `UsageError`."""
    if catalog is None:
        return None if kind is None else TableFormat(kind=kind)
    match = re.fullmatch(r"([A-Za-z0-9_-]+)(?:/([A-Za-z0-9_.-]+))?", catalog, re.ASCII)
    if match is None:
        raise UsageError(f"--iceberg-catalog {catalog!r}: write it as CATALOG or CATALOG/NAMESPACE")
    if kind != "iceberg":
        raise UsageError("--iceberg-catalog: goes with --table-format iceberg")
    name, namespace = match.groups()
    return TableFormat(kind=kind, catalog=name, **({} if namespace is None else {"namespace": namespace}))


def parse_share(text: str) -> float:
    """The share that `--sample` names, above 0 and up to 1. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*%", text.strip(), re.ASCII)
    if match is None or not 0 < float(match.group(1)) <= 100:
        raise UsageError(f"--sample {text!r}: write a share as 10%, above 0 and up to 100%")
    return float(match.group(1)) / 100
