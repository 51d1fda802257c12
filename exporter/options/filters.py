"""Reads and checks the filters of the API: those that have options of their own, and any other parameters."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final

from exporter.contract import (
    FILTERS_BY_NAME,
    MAX_LISTS,
    RESERVED_PARAMETERS,
    FilterKind,
    format_instant,
    parse_timestamp,
)
from exporter.errors import UsageError
from exporter.options.parse import flag_of
from exporter.options.times import are_comparable, depends_on_now, to_instant, to_seconds
from exporter.settings import Filters
from exporter.store.location import quoted
from exporter.words import did_you_mean, nearest

#: Filters whose number is one of seconds.
DURATIONS: Final = ("duration_above", "duration_below")
#: Filters by a whole id, which no comma can be part of.
_IDS: Final = ("agent_id", "agent_version_id", "web_widget_id")

#: Options that may be taken for parameters of the API.
_LIKE_PARAMETERS: Final = ("since", "until", "page_size", "exclude_fields", "org_id")
#: Other names of what the API calls otherwise.
_MEANT: Final = {
    "state": "status",
    "statuses": "status",
    "agent": "agent_id",
    "agent_version": "agent_version_id",
    "user": "user_id",
    "widget_id": "web_widget_id",
    "web_widget": "web_widget_id",
    "metadata": "custom_metadata",
    "organization": "org_id",
    "organization_id": "org_id",
}
_LETTERS_PER_SLIP: Final = 5  # event_id, two letters from agent_id, may be a parameter of its own

_REVERSIBLE: Final[tuple[tuple[str, str, Callable[[str], int]], ...]] = (
    ("duration_above", "duration_below", int),
    ("user_turn_count_above", "user_turn_count_below", int),
    ("updated_after", "updated_before", parse_timestamp),
)


def parse_filter(name: str, text: str) -> str | int:
    """Returns the typed value of a filter that has a flag of its own, as `ExportSpec` takes it. Raises `UsageError`."""
    if name in DURATIONS:
        return to_seconds(text, flag_of(name))
    if FILTERS_BY_NAME[name].kind is not FilterKind.INTEGER:
        return text
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) is None:
        raise UsageError(f"{flag_of(name)} {text!r}: must be a whole number")
    return int(text)


def check_values(name: str, value: Any, zone: tzinfo = UTC) -> str | tuple[str, ...]:
    """Returns the query parameter of a filter that has a flag of its own, or several, sorted, if it has several values.

    A time without an offset is in `zone`. Raises `UsageError` as `check_filter`, and for a sequence without a value.
    """
    known = FILTERS_BY_NAME[name]
    if not known.takes_several:
        return check_filter(name, value, zone)
    each = [value] if isinstance(value, str) else list(value)
    if known.choices:
        each = [text.strip() for one in each for text in str(one).split(",")]
    values = sorted({check_filter(name, one) for one in each})
    if not values:
        raise UsageError(f"{flag_of(name)}: must have a value")
    return values[0] if len(values) == 1 else tuple(values)


def check_filter(name: str, value: Any, zone: tzinfo = UTC) -> str:
    """Returns the query parameter of one value of a filter that has a flag of its own.

    A time without an offset is in `zone`.

    Raises `UsageError` for a value that the API cannot understand.
    """
    known, option = FILTERS_BY_NAME[name], flag_of(name)
    if name in DURATIONS:
        value = to_seconds(value, option)
    match known.kind:
        case FilterKind.CHOICE if not value:
            raise UsageError(f"{option}: a value is empty; known values are {', '.join(known.choices)}")
        case FilterKind.CHOICE if value not in known.choices:
            near = did_you_mean(str(value), known.choices)
            several = " Several take commas: A,B." if re.search(r"[^\w-]", str(value).strip()) else ""
            raise UsageError(
                f"{option} {value!r}: known values are {', '.join(known.choices)}.{near}{several} "
                f"To send a newer one unchecked, give --filter {quoted(f'{name}={value}')}"
            )
        case FilterKind.INTEGER if len(str(value).lstrip("-")) > 18:
            raise UsageError(f"{option} {value}: must have at most 18 digits")
        case FilterKind.INTEGER if int(value) < 0:
            raise UsageError(f"{option} {value}: must be 0 or more")
        case FilterKind.METADATA:
            return _metadata(value, option)
        case FilterKind.TIME if isinstance(value, str) and depends_on_now(value):
            raise UsageError(
                f"{option} {value!r}: must be a time such as 2026-02-10, the same on every day, because it is stored "
                "with the export"
            )
        case FilterKind.TIME:
            return format_instant(to_instant(value, 0, option, zone))
        case FilterKind.TEXT if not isinstance(value, str):
            raise UsageError(f"{option} {value!r}: must be text")
        case FilterKind.TEXT if not value.strip():
            raise UsageError(f"{option}: must have a value")
        case FilterKind.TEXT if name in _IDS and "," in value:
            several = f" For several, give {option} once for each; in Python, a list." if known.takes_several else ""
            raise UsageError(
                f"{option} {value!r}: an id has no comma.{several} To send this one unchecked, give "
                f"--filter {quoted(f'{name}={value}')}"
            )
        case FilterKind.TEXT:
            return str(value).strip()
    return str(value)


def _metadata(value: Mapping[str, Any] | str, option: str) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(dict(value))
        if isinstance(json.loads(text), dict):
            return text
    except (TypeError, ValueError, RecursionError):
        text = str(value)
    raise UsageError(f'{option} {text!r}: must be a JSON object, such as \'{{"order_id": "123"}}\'')


def parse_parameters(texts: Sequence[str], option: str = "--filter") -> dict[str, str]:
    """Returns the typed values of an option, each a `name=value`, as a mapping. Raises `UsageError`."""
    parameters: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{option} {text!r}: must be name=value")
        _add(parameters, name, value)
    return parameters


def choose_filters(
    named: Mapping[str, Any], parameters: Mapping[str, str], zone: tzinfo = UTC, *, is_zone_known: bool = True
) -> Filters | None:
    """Returns the query parameters of all filters: those in `named`, checked, and `parameters`, as they are.

    A value of None in `named` means that the filter is not given; the result is None if no filter is. Raises
    `UsageError` for a value that `check_filter` refuses, for more lists than `MAX_LISTS`, for a name that the walk
    itself needs or that is a slip of a known one, for filters that no conversation can match together (in every zone,
    unless the zone is known), and for a filter that is given twice, because nobody knows which of the two the API would
    heed.
    """
    filters = {name: check_values(name, value, zone) for name, value in named.items() if value is not None}
    several = {name: values for name, values in filters.items() if not isinstance(values, str)}
    lists = math.prod(len(values) for values in several.values())
    if lists > MAX_LISTS:
        raise UsageError(
            f"{', '.join(map(flag_of, several))}: each combination of values is a list to read, and these are {lists} "
            f"lists; at most {MAX_LISTS} can be read together. Give fewer values, or export to several destinations"
        )
    for name, value in parameters.items():
        _check_parameter(name, value)
        _add(filters, name, value)
    for above, below, read in _REVERSIBLE:
        if not (is_zone_known or are_comparable(named.get(above), named.get(below))):
            continue
        if above in filters and below in filters and _is_reversed(filters[above], filters[below], read):
            raise UsageError(
                f"nothing can match both {flag_of(above)} {filters[above]} and {flag_of(below)} {filters[below]}: swap "
                "the two values?"
            )
    return filters or None


def _check_parameter(name: object, value: object) -> None:
    if not isinstance(name, str) or not isinstance(value, str):
        what, wrong = (name, value) if isinstance(name, str) else ("a name", name)
        raise UsageError(f"filters: {what} must be a text, not {type(wrong).__name__}")
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.\[\]-]*", name) is None:
        raise UsageError(f"--filter {f'{name}={value}'!r}: must be name=value")
    if name in RESERVED_PARAMETERS:
        raise UsageError(
            f"--filter {name}: the exporter sets this itself; use --since, --until, --page-size or --fields"
        )
    known = (*FILTERS_BY_NAME, *RESERVED_PARAMETERS, *_LIKE_PARAMETERS)
    meant = _MEANT.get(name.casefold().replace("-", "_")) or nearest(name, known, _LETTERS_PER_SLIP)
    if meant in _LIKE_PARAMETERS:
        raise UsageError(f"--filter {name}: this is no parameter of the API; use {flag_of(meant)}")
    if meant not in (None, name):
        raise UsageError(f"--filter {name}: the API has no such parameter. Did you mean {meant}?")


def _is_reversed(above: object, below: object, read: Callable[[str], int]) -> bool:
    try:
        return read(str(above)) > read(str(below))
    except ValueError:
        return False  # a value that is sent unchecked


def _add(filters: dict[str, Any], name: str, value: str) -> None:
    if name in filters:
        raise given_twice(name, filters[name], value)
    filters[name] = value


def given_twice(name: str, first: str | tuple[str, ...], second: str) -> UsageError:
    """Returns the error of a filter that is given in two places, or has two values though it takes one."""
    shown = first if isinstance(first, str) else ",".join(first)
    return UsageError(f"the filter {name} is given twice: {shown!r} and {second!r}")
