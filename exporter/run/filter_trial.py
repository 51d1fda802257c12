"""Tries the filters that no reference names: an API may ignore what it does not know, and then they filter nothing.

A page is asked for without the export's filters, and once more with such a filter alone. If both are the same page, the
value may match all of its rows, so that values are tried which no row should have.
"""

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias

import anyio
from msgspec.structs import replace

from exporter.contract import FILTERS_BY_NAME, Instant, parse_timestamp
from exporter.errors import RequestRefusedError, SourceError
from exporter.model import PageRequest
from exporter.pipeline.reader import Reader
from exporter.settings import Request
from exporter.words import did_you_mean

_ROWS: Final = 100
#: An API that takes longer, or fails at a value that it cannot read, must not hold up the export.
_PATIENCE_SECONDS: Final = 10.0
_TEXT: Final = "exporter-tries-whether-this-is-known"
_UUID: Final = "00000000-0000-4000-8000-0123456789ab"

#: Returns the ids of a page that was asked for with these parameters.
Ids: TypeAlias = Callable[[tuple[tuple[str, str], ...]], Awaitable[frozenset[str]]]


async def try_filters(
    reader: Reader, request: Request, latest: Instant, patience_seconds: float = _PATIENCE_SECONDS
) -> tuple[str, ...]:
    """Returns the filters of `request` that the API does not seem to know, and warns of each. Those that a reference
    names are not tried.

    Only rows created up to `latest` are asked for, because newer ones may arrive between two questions. Nothing is
    raised: the reading itself meets what is wrong with the API.
    """
    page = PageRequest(_ROWS, created_before=latest, filtered=False, ids_only=True)

    async def ids(extra: tuple[tuple[str, str], ...]) -> frozenset[str]:
        found = (await reader.look(replace(page, extra=extra), believes=True)).page.rows
        return frozenset(row.id for row in found.rows)

    ignored = []
    for name, value in request.common_filters.items():
        if name in FILTERS_BY_NAME:
            continue
        is_known: bool | None = None
        with anyio.move_on_after(patience_seconds), suppress(SourceError):
            is_known = await knows(ids, name, value)
        if is_known is None:
            reader.observer.note("it cannot be told whether the API knows a filter", name=name)
        elif not is_known:
            ignored.append(name)
            reader.observer.warn(
                f"the API does not seem to know the filter {name}: it answers alike without it."
                f"{did_you_mean(name, FILTERS_BY_NAME)}"
            )
    return tuple(ignored)


async def knows(ids: Ids, name: str, value: str) -> bool | None:
    """Returns whether the API heeds a parameter, or None if this cannot be told: it has no rows to show that by, or
    they change from question to question. Raises `SourceError`."""
    without = await ids(())
    if not without:
        return None
    for tried in (value, *impossible_values(value)):
        try:
            found = await ids(((name, tried),))
        except RequestRefusedError:
            return True  # it has read the value
        if found != without:
            again = await ids(())
            if again != without:
                return None
            return True
    return False


def impossible_values(value: str) -> tuple[str, ...]:
    """Returns values of the same kind as `value`, of which at least one should match no row.

    An upper bound that is beyond all rows matches them all, and so does a lower one, so that both ends are tried.
    """
    if re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII):
        return "-2147483648", "2147483647"  # which fit into 32 bits
    if value.lower() in ("true", "false"):
        return ("false",) if value.lower() == "true" else ("true",)
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value, re.ASCII | re.IGNORECASE):
        return (_UUID,)
    if _is_time(value):
        return "1900-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
    if value.lstrip().startswith("{"):
        return (json.dumps({_TEXT: _TEXT}),)
    return (_TEXT,)


def _is_time(value: str) -> bool:
    with suppress(ValueError):
        parse_timestamp(value)
        return True
    return False
