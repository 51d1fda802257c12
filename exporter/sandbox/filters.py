"""The query of a list: its parameters read as the API reads them, or refused (api.md, Request)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from exporter.contract import FILTERS, MAX_PAGE_SIZE, FilterKind, Instant, decode_cursor, parse_timestamp
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.rows import Row

Facts: TypeAlias = Mapping[str, object]
Test: TypeAlias = Callable[[Facts], bool]

_SUBSTRINGS: Final = ("user_id", "agent_number")


class BadParameterError(Exception):
    """The server answers 422. The message names the parameter."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a list request asks for. Every time bound is inclusive, but for a strict `cursor`."""

    limit: int
    after: Instant | None
    before: Instant | None
    cursor: Instant | None
    updated_after: Instant | None
    updated_before: Instant | None
    tests: tuple[Test, ...]
    fields: frozenset[str] | None
    names_status: bool

    @property
    def narrows(self) -> bool:
        """Whether rows have to be looked at one by one."""
        return bool(self.tests) or self.updated_after is not None or self.updated_before is not None

    def matches(self, row: Row) -> bool:
        """All filters but the bounds on `created_at`."""
        if self.updated_after is not None and row.updated_at < self.updated_after:
            return False
        if self.updated_before is not None and row.updated_at > self.updated_before:
            return False
        return not self.tests or self._passes(row.facts())

    def _passes(self, facts: Facts) -> bool:
        return all(test(facts) for test in self.tests)


def parse_query(parameters: Mapping[str, str], behaviour: Behaviour) -> Query:
    """Raises `BadParameterError`. What the behaviour ignores is not even read; unknown parameters are let pass."""
    asked = {name: value for name, value in parameters.items() if name not in behaviour.ignores}
    tests = [
        _test(known.name, known.kind, known.choices, asked[known.name])
        for known in FILTERS
        if known.name in asked and known.kind is not FilterKind.TIME
    ]
    fields = asked.get("fields")
    return Query(
        limit=_limit(asked, behaviour),
        after=_time(asked, "created_after"),
        before=_time(asked, "created_before"),
        cursor=_cursor(asked),
        updated_after=_time(asked, "updated_after"),
        updated_before=_time(asked, "updated_before"),
        tests=tuple(tests),
        fields=None if fields is None else frozenset(name.strip() for name in fields.split(",")),
        names_status="status" in asked,
    )


def _limit(asked: Mapping[str, str], behaviour: Behaviour) -> int:
    limit = _integer("limit", asked["limit"]) if "limit" in asked else behaviour.default_limit
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise BadParameterError(f"limit: has to be from 1 to {MAX_PAGE_SIZE}")
    return limit if behaviour.page_cap is None else min(limit, behaviour.page_cap)


def _time(asked: Mapping[str, str], name: str) -> Instant | None:
    if name not in asked:
        return None
    try:
        return parse_timestamp(asked[name])
    except (ValueError, OverflowError) as error:
        raise BadParameterError(f"{name}: {error}") from error


def _cursor(asked: Mapping[str, str]) -> Instant | None:
    if "cursor" not in asked:
        return None
    try:
        return decode_cursor(asked["cursor"])
    except (ValueError, OverflowError) as error:
        raise BadParameterError("cursor: not Base64 of an ISO 8601 timestamp") from error


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadParameterError(f"{name}: not an integer") from error


def _test(name: str, kind: FilterKind, choices: tuple[str, ...], value: str) -> Test:
    if kind is FilterKind.CHOICE and value not in choices:
        raise BadParameterError(f"{name}: has to be one of {', '.join(choices)}")
    if kind is FilterKind.INTEGER:
        return _bound(name, _integer(name, value))
    if kind is FilterKind.METADATA:
        wanted = _json_object(name, value)
        return lambda facts: contains(facts.get(name), wanted)
    if name in _SUBSTRINGS:
        part = value.casefold()
        return lambda facts: isinstance(text := facts.get(name), str) and part in text.casefold()
    return lambda facts: facts.get(name) == value


def _bound(name: str, bound: int) -> Test:
    field, _, side = name.rpartition("_")
    if side == "above":
        return lambda facts: (number := _number(facts.get(field))) is not None and number >= bound
    return lambda facts: (number := _number(facts.get(field))) is not None and number <= bound


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _json_object(name: str, text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadParameterError(f"{name}: not JSON") from error
    if not isinstance(value, dict):
        raise BadParameterError(f"{name}: not a JSON object")
    return value


def contains(value: object, wanted: object) -> bool:
    """Whether a JSON value holds another: objects by key, arrays by element, the rest by equality (true is not 1)."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and contains(value[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(contains(item, want) for item in value) for want in wanted)
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
