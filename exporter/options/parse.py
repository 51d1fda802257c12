"""Parses values of options that are typed as text, and checks those that a program gives."""

import re
from collections.abc import Sequence
from datetime import UTC, date, tzinfo
from typing import Any, Final, Literal

from exporter.contract import (
    ALWAYS_FIELDS,
    END_OF_TIME,
    FIELD_NAMES,
    MICROSECOND,
    TRANSCRIPT_FIELD,
    Instant,
    format_instant,
)
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS, TABLES, TURNS, TableFormat, TableKind
from exporter.options.times import are_comparable, to_instant
from exporter.settings import check_range
from exporter.words import any_of, did_you_mean
from exporter.zones import check_zone

_SIZE = re.compile(r"(\d{1,15})\s*(|B|kB|MB|GB|KiB|MiB|GiB)", re.ASCII | re.IGNORECASE)
#: More than any machine has cores for.
MOST_PROCESSES: Final = 256
#: A smaller number without a unit is one whose unit was left out.
_LEAST_BARE_BYTES = 10_000
_SIZE_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def flag_of(name: str) -> str:
    """Returns the flag of an option, which is its name with dashes."""
    return "--" + name.replace("_", "-")


def to_choice(text: str, choices: Sequence[str], option: str) -> str:
    """Returns one of `choices`. Raises `UsageError`."""
    if text in choices:
        return text
    raise UsageError(f"{option} {text!r}: must be {any_of(choices)}.{did_you_mean(text, choices)}".rstrip("."))


def to_number(
    text: str, kind: type[int] | type[float], option: str, least: Any = None, most: Any = None
) -> int | float:
    """Returns a number from `least` to `most`; None means no bound. Raises `UsageError`."""
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is not None and (least is None or least <= number) and (most is None or number <= most):
        return number
    what = "a number" if kind is float else "a whole number"
    bounds = f", at least {least}" if most is None else f" from {least} to {most}"
    raise UsageError(f"{option} {text!r}: must be {what}{'' if least is None else bounds}")


def to_processes(given: int | str, named: str = "") -> int | Literal["auto"]:
    """Returns the number of processes, or `auto`, for one for each core. Raises `UsageError`, which may say where the
    number was `named`."""
    if given == "auto":
        return "auto"
    try:
        number = int(given)
    except ValueError:
        number = 0
    if 1 <= number <= MOST_PROCESSES:
        return number
    named = named or f"--processes {given!r}:"
    raise UsageError(f"{named} must be auto, or a whole number from 1 to {MOST_PROCESSES}")


def choose_range(
    since: str | date | None,
    until: str | date | None,
    created_after: str | date | None,
    created_before: str | date | None,
    now: Instant,
    zone: tzinfo = UTC,
    *,
    latest: Instant | None = None,
    is_zone_known: bool = True,
) -> tuple[Instant | None, Instant | None]:
    """Returns the half-open range of `created_at`. The ends `created_after` and `created_before` are both included.
    Times without an offset are in `zone`. A range that has no end of its own ends at `latest`, if that is given.

    Raises `UsageError` for an unreadable time, an end that is given under both names, and a range that is empty: in
    every zone, unless the zone is known.
    """
    start = _either(now, zone, ("--since", since), ("--created-after", created_after))
    end = _either(now, zone, ("--until", until), ("--created-before", created_before))
    if end is not None and created_before is not None:
        end = min(end + MICROSECOND, END_OF_TIME - MICROSECOND)
    if not (is_zone_known or are_comparable(since or created_after, until or created_before)):
        return start, end
    if end is not None:
        if start is not None and start > end:
            names = (
                "--created-after" if since is None else "--since",
                "--created-before" if until is None else "--until",
            )
            raise UsageError(
                f"{names[0]} ({format_instant(start)}) lies after {names[1]} ({format_instant(end)}): swap them?"
            )
        check_range(start, end)
    elif latest is not None:
        check_range(start, latest)
    return start, end


def _either(now: Instant, zone: tzinfo, *options: tuple[str, str | date | None]) -> Instant | None:
    given = [(option, value) for option, value in options if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(option for option, _ in given)}: give only one of them")
    return to_instant(given[0][1], now, given[0][0], zone) if given else None


def to_bytes(size: int | str, option: str) -> int:
    """Returns a number of bytes, which may be given as a text such as `256MB` or `256MiB`. Raises `UsageError`."""
    match = _SIZE.fullmatch(str(size).strip())
    if match is None:
        raise UsageError(f"{option} {size!r}: write a size as 256MB, 1GiB, or a number of bytes")
    number, unit = int(match.group(1)), match.group(2).lower()
    if not unit and 0 < number < _LEAST_BARE_BYTES:
        raise UsageError(f"{option} {size}: a number this small must have its unit: {number}MiB, or {number}B")
    return number * _SIZE_BYTES[unit]


def choose_fields(only: str | Sequence[str] | None, without: Sequence[str] | str | None) -> tuple[str, ...] | None:
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


def choose_tables(tables: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Returns the tables to write, in the order of `TABLES`; None if none are named.

    Raises `UsageError` for an unknown name, and without conversations, which the others are kept in step with.
    """
    if tables is None:
        return None
    names = _names("--tables", "table", tables, TABLES)
    if CONVERSATIONS not in names:
        raise UsageError(f"--tables: {CONVERSATIONS} cannot be left out; give {','.join(TABLES)}")
    return tuple(name for name in TABLES if name in names)


def _names(option: str, what: str, value: Sequence[str] | str, known: Sequence[str]) -> set[str]:
    names = {str(name).strip() for name in (value.split(",") if isinstance(value, str) else value)}
    if not names - {""}:
        raise UsageError(f"{option}: must name a {what}")
    if "" in names:
        raise UsageError(f"{option}: the name of a {what} is empty; give A,B")
    if unknown := sorted(names - set(known)):
        raise UsageError(f"{option}: no such {what}: {', '.join(unknown)}.{_instead(unknown[0], what, known)}")
    return names


def _instead(name: str, what: str, known: Sequence[str]) -> str:
    if what == "field" and name.casefold() in ("transcript", "transcripts", TURNS):
        return f" The transcript is the field {TRANSCRIPT_FIELD}"
    return did_you_mean(name, known) or f" The {what}s are {', '.join(known)}"


def choose_timezone(name: str | None) -> str | None:
    """Returns the name of a time zone as its database spells it; None if none is given. Raises `UsageError`."""
    return None if name is None else check_zone(name, "--timezone")


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
