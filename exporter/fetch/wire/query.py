"""Turns a page request into a query string, quoted so that every server reads it in the same way. Pure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from exporter.contract import (
    ALWAYS_FIELDS,
    BEGINNING,
    END_OF_TIME,
    Instant,
    TimestampStyle,
    encode_cursor,
    format_instant,
    parse_timestamp,
)
from exporter.errors import UsageError
from exporter.model import PageRequest

_UPDATED: Final = ("updated_after", "updated_before")


class Query:
    """Joins the export's filters and fields to each request. With `fields` None, the parameter is left out.

    Raises `UsageError` for an `updated_*` filter that is no ISO 8601 time.
    """

    def __init__(self, filters: Mapping[str, str], fields: tuple[str, ...] | None) -> None:
        self._filters = {name: value for name, value in filters.items() if name not in _UPDATED}
        self._updated_after, self._updated_before = (_time_filter(filters, name) for name in _UPDATED)
        self._fields = fields

    def text(self, request: PageRequest, style: TimestampStyle) -> str:
        """Returns the query of one request, percent-encoded.

        Everything except letters, digits and `-._~` is quoted: the `+` of `+00:00` and of Base64 would be read as a
        space.
        """
        return urlencode(self.parameters(request, style), quote_via=quote, safe="")

    def parameters(self, request: PageRequest, style: TimestampStyle) -> dict[str, str]:
        """Returns parameters by name. Bounds outside the years 1 to 9999 are left out, or clamped if that widens."""
        afters, befores = [request.updated_after], [request.updated_before]
        parameters: dict[str, str] = {}
        if request.filtered:
            parameters |= self._filters | dict(request.values)
            # The walk's bounds narrow the user's: what a parameter sent twice means is up to each server.
            afters.append(self._updated_after)
            befores.append(self._updated_before)
        if request.status is not None:
            parameters.setdefault("status", request.status)
        updated_after = max((bound for bound in afters if bound is not None), default=None)
        updated_before = min((bound for bound in befores if bound is not None), default=None)
        for name, bound in (("created_after", request.created_after), ("updated_after", updated_after)):
            if bound is not None and bound > BEGINNING:
                parameters[name] = format_instant(min(bound, END_OF_TIME - 1), style)
        for name, bound in (("created_before", request.created_before), ("updated_before", updated_before)):
            if bound is not None and bound < END_OF_TIME:
                parameters[name] = format_instant(max(bound, BEGINNING), style)
        if request.before_cursor is not None and request.before_cursor < END_OF_TIME:
            parameters["cursor"] = encode_cursor(max(request.before_cursor, BEGINNING), style)
        # A request without filters is made to see what whole rows weigh, and few fields would weigh too little.
        fields = ALWAYS_FIELDS if request.ids_only else self._fields if request.filtered else None
        if fields is not None:
            parameters["fields"] = ",".join(fields)
        parameters["limit"] = str(request.limit)
        return parameters | dict(request.extra)


def _time_filter(filters: Mapping[str, str], name: str) -> Instant | None:
    if name not in filters:
        return None
    try:
        return parse_timestamp(filters[name])
    except ValueError as error:
        raise UsageError(f"filter {name} {filters[name]!r}: {error}") from error
