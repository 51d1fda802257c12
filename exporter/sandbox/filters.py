"""Reads the query of a list as the API reads it, or refuses it (source.md, Request)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from exporter.contract import DAY, FILTERS, MAX_PAGE_SIZE, FilterKind, Instant, decode_cursor, parse_timestamp
from exporter.sandbox.behaviour import PARAMETERS, Behaviour
from exporter.sandbox.readings import reads_of
from exporter.sandbox.render import served_instant
from exporter.sandbox.rows import Row

Facts: TypeAlias = Mapping[str, object]
Test: TypeAlias = Callable[[Facts], bool]

_SUBSTRINGS: Final = ("user_id", "agent_number")


class BadParameterError(Exception):
    """Makes the server answer 422. The message names the parameter."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Holds a time that was asked for, as the server reads it; `included` says whether a row of that time matches."""

    at: Instant
    included: bool


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """Holds what a list request asks for: bounds on `created_at`, and tests that each row must pass."""

    limit: int
    after: Bound | None
    before: Bound | None
    cursor: Bound | None
    tests: tuple[Callable[[Row], bool], ...]
    fields: frozenset[str] | None
    names_status: bool

    def matches(self, row: Row) -> bool:
        """Returns whether the row passes all filters except the bounds on `created_at`."""
        return all(test(row) for test in self.tests)


def parse_query(parameters: Mapping[str, str], behaviour: Behaviour) -> ParsedQuery:
    """Reads a query, or raises `BadParameterError`. What the behaviour ignores is not read."""
    asked = {name: value for name, value in parameters.items() if name not in behaviour.ignores}
    unknown = () if behaviour.unknown == "ignored" else sorted(asked.keys() - PARAMETERS)
    if unknown and behaviour.unknown == "refused":
        raise BadParameterError(f"{unknown[0]}: no such parameter")
    tests = [
        _of_facts(_test(known.name, known.kind, known.choices, asked[known.name]))
        for known in FILTERS
        if known.name in asked and known.kind is not FilterKind.TIME
    ]
    tests += [_of_facts(_test(name, _kind_of(name), (), asked[name])) for name in unknown]
    fields = asked.get("fields")
    return ParsedQuery(
        limit=_limit(asked, behaviour),
        after=_bound(asked, "created_after", behaviour),
        before=_bound(asked, "created_before", behaviour),
        cursor=_bound(asked, "cursor", behaviour),
        tests=(*_updated_tests(asked, behaviour), *tests),
        fields=None if fields is None else frozenset(name.strip() for name in fields.split(",")),
        names_status="status" in asked,
    )


def compared(instant: Instant, behaviour: Behaviour) -> Instant:
    """Returns the time that stands for a stored one in comparisons with bounds."""
    if behaviour.compares == "served":
        return served_instant(instant, behaviour.precision, behaviour.rounding)
    return instant // DAY * DAY if behaviour.compares == "day" else instant


def _updated_tests(asked: Mapping[str, str], behaviour: Behaviour) -> list[Callable[[Row], bool]]:
    tests: list[Callable[[Row], bool]] = []
    after, before = (_bound(asked, name, behaviour) for name in ("updated_after", "updated_before"))
    if after is not None:
        earliest = after.at if after.included else after.at + 1
        tests.append(lambda row: compared(row.updated_at, behaviour) >= earliest)
    if before is not None:
        latest = before.at if before.included else before.at - 1
        tests.append(lambda row: compared(row.updated_at, behaviour) <= latest)
    return tests


def _of_facts(test: Test) -> Callable[[Row], bool]:
    return lambda row: test(row.facts())


def _kind_of(name: str) -> FilterKind:
    return FilterKind.INTEGER if name.endswith(("_above", "_below")) else FilterKind.TEXT


def _limit(asked: Mapping[str, str], behaviour: Behaviour) -> int:
    limit = _integer("limit", asked["limit"]) if "limit" in asked else behaviour.default_limit
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise BadParameterError(f"limit: must be from 1 to {MAX_PAGE_SIZE}")
    return limit if behaviour.page_cap is None else min(limit, behaviour.page_cap)


def _bound(asked: Mapping[str, str], name: str, behaviour: Behaviour) -> Bound | None:
    if name not in asked:
        return None
    is_cursor = name == "cursor"
    try:
        instant = decode_cursor(asked[name]) if is_cursor else parse_timestamp(asked[name])
        read = reads_of(behaviour.reads, name)(instant)
    except (ValueError, OverflowError) as error:
        detail = "not Base64 of an ISO 8601 timestamp" if is_cursor else str(error)
        raise BadParameterError(f"{name}: {detail}") from error
    return Bound(read, behaviour.cursor == "inclusive" if is_cursor else name not in behaviour.excludes)


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadParameterError(f"{name}: not an integer") from error


def _test(name: str, kind: FilterKind, choices: tuple[str, ...], value: str) -> Test:
    if kind is FilterKind.CHOICE and value not in choices:
        raise BadParameterError(f"{name}: must be one of {', '.join(choices)}")
    if kind is FilterKind.INTEGER:
        return _number_test(name, _integer(name, value))
    if kind is FilterKind.METADATA:
        wanted = _json_object(name, value)
        return lambda facts: contains(facts.get(name), wanted)
    if name in _SUBSTRINGS:
        part = value.casefold()
        return lambda facts: isinstance(text := facts.get(name), str) and part in text.casefold()
    return lambda facts: facts.get(name) == value


def _number_test(name: str, bound: int) -> Test:
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
    """Returns whether a JSON value holds another: objects by key, arrays by element, others if equal; true is not 1."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and contains(value[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(contains(item, want) for item in value) for want in wanted)
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
