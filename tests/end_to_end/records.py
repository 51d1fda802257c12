"""Reads what a server serves from its JSON, without the exporter's decoding: the measure of every export."""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from exporter.contract import ALWAYS_FIELDS, FIELDS, Instant, Kind, parse_timestamp
from exporter.sandbox import Behaviour, Row, ServedRequest
from exporter.sandbox.filters import parse_query
from exporter.sandbox.listing import Listing
from exporter.sandbox.render import View, render

Record: TypeAlias = dict[str, Any]

#: A time in the past of every machine that runs the tests.
SINCE = parse_timestamp("2024-01-01")
UNTIL = parse_timestamp("2024-03-01")

_AGENT = ("id", "name")

#: What lists of ids ask for; the first question also asks whose they are.
NARROW_FIELDS = {",".join(ALWAYS_FIELDS), ",".join((*ALWAYS_FIELDS, "organization_id"))}


def records(
    rows: Iterable[Row],
    behaviour: Behaviour | None = None,
    *,
    sensitive: bool = True,
    fields: Sequence[str] | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
) -> dict[str, Record]:
    """Returns, by id, what an export of `rows` must hold in each column. The range is of `created_at` as served."""
    asked = None if fields is None else frozenset(fields) | frozenset(ALWAYS_FIELDS)
    view = View.of(behaviour or Behaviour(), asked, sensitive=sensitive)
    found = {}
    for row in rows:
        members = msgspec.json.decode(render(row, view), type=dict[str, msgspec.Raw])
        record = _record({name: bytes(text).decode() for name, text in members.items()}, asked)
        created_at = microseconds(record["created_at"])
        if (since is None or created_at >= since) and (until is None or created_at < until):
            found[record["id"]] = record
    return found


def conversation(created_at: Instant, updated_at: Instant, identity: str, **fields: object) -> Row:
    """Makes a row with every field; those that are not given are null."""
    nothing = dict.fromkeys(field.name for field in FIELDS if field.kind is not Kind.TIMESTAMP)
    return Row(created_at, updated_at, {**nothing, "id": identity, "status": "completed", **fields})


def microseconds(moment: datetime) -> Instant:
    """Returns the instant of a `datetime` that knows its offset."""
    return parse_timestamp(moment.astimezone(UTC).isoformat())


def _record(members: Mapping[str, str], asked: frozenset[str] | None) -> Record:
    fields = [field for field in FIELDS if asked is None or field.name in asked]
    texts = {field: members.get(field.name, "null") for field in fields}
    # Most fields of made-up rows are null.
    record = {field.name: None if text == "null" else _READ[field.kind](text) for field, text in texts.items()}
    known = {field.name for field in FIELDS}
    extra = {name: text for name, text in members.items() if name not in known}
    agent = json.loads(members.get("agent", "null")) or {}
    if beside := {name: value for name, value in agent.items() if name not in _AGENT}:
        extra["agent"] = json.dumps(beside, separators=(",", ":"))
    beyond = (f"{json.dumps(name)}:{extra[name]}" for name in sorted(extra))
    record["extra"] = "{" + ",".join(beyond) + "}" if extra else None
    return record


def _read_time(text: str) -> datetime:
    moment = datetime.fromisoformat(json.loads(text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_agent(text: str) -> dict[str, object]:
    value = json.loads(text)
    return {name: value.get(name) for name in _AGENT}


_READ: dict[Kind, Callable[[str], Any]] = {
    Kind.STRING: json.loads,
    Kind.INTEGER: json.loads,
    Kind.TIMESTAMP: _read_time,
    Kind.AGENT: _read_agent,
    Kind.JSON: str,
}


def whole_rows_served(rows: Iterable[Row], requests: Iterable[ServedRequest], behaviour: Behaviour) -> list[Row]:
    """Returns every row that was served to `requests`, as often as it was; lists of ids alone do not count."""
    listing = Listing(rows)
    served: list[Row] = []
    for seen in requests:
        if seen.query.get("fields") not in NARROW_FIELDS:
            served += listing.page(parse_query(seen.query, behaviour), behaviour, 0, random.Random(seen.number))
    return served
