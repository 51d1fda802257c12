"""Counts conversations by day, as the API's usage summary does, in any of the ways in which it may be meant."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from exporter.contract import DAY, SECOND, USAGE_DAYS, Instant, format_instant, parse_timestamp
from exporter.partitions import date_of
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.gate import Refusal, reads_sensitive
from exporter.sandbox.readings import reads_of
from exporter.sandbox.rows import Row

#: Channels with a voice; all others are chats.
_VOICE: Final = ("telephone", "webrtc")
_COUNTS: Final = ("total_calls", "voice_calls", "chat_calls", "inbound_calls", "outbound_calls")
_MINUTES: Final = ("voice_minutes", "chat_minutes")


def usage_summary(
    rows: Iterable[Row],
    deleted: Iterable[Row],
    query: Mapping[str, str],
    headers: Mapping[str, str],
    behaviour: Behaviour,
    now: Instant,
) -> bytes | Refusal:
    """Returns the JSON text of the summary of the days that `query` asks for, or its refusal.

    `deleted` are the rows that are served no more, which the behaviour may count as well.
    """
    if behaviour.usage == "forbidden" or not reads_sensitive(headers):
        return Refusal(403, "Missing scope billing:manage.")
    if behaviour.usage == "absent":
        return Refusal(404, "Not Found")
    try:
        start, end = parse_timestamp(query["from"]), parse_timestamp(query["to"])
    except (KeyError, ValueError):
        return Refusal(422, "from and to must be ISO 8601 times.")
    if not 0 <= end - start <= USAGE_DAYS * DAY:
        return Refusal(422, f"from and to must be at most {USAGE_DAYS} days apart.")
    counted = chain(rows, deleted if behaviour.usage_keeps_deleted else ())
    local = reads_of([f"in-{behaviour.usage_zone}"], "")
    days: dict[int, Counter[str]] = {}
    for instant, row in _counted(counted, behaviour, now):
        day = local(instant) // DAY
        if _is_asked_for(instant, start, end, behaviour):
            days.setdefault(day, Counter()).update(_counts_of(row.facts(), behaviour))
    first, last = start // DAY, max(start, end - 1) // DAY
    if behaviour.usage_off:
        days.setdefault(max(days, default=first), Counter())["total_calls"] += behaviour.usage_off
    return json.dumps(_document(days, (first, last), (start, end), behaviour)).encode()


def _counted(rows: Iterable[Row], behaviour: Behaviour, now: Instant) -> Iterator[tuple[Instant, Row]]:
    """Yields the rows that count, each with the instant that decides its day."""
    for row in rows:
        facts = row.facts()
        if {facts.get("channel"), facts.get("status")} & {*behaviour.usage_leaves_out}:
            continue
        instant = row.created_at
        if behaviour.usage_day == "ended":
            instant += _seconds(facts) * SECOND
        if instant <= now - behaviour.usage_lag_seconds * SECOND:
            yield instant, row


def _is_asked_for(instant: Instant, start: Instant, end: Instant, behaviour: Behaviour) -> bool:
    match behaviour.usage_ends:
        case "included":
            return start <= instant <= end
        case "excluded":
            return start < instant < end
        case "days-included":
            return start // DAY <= instant // DAY <= end // DAY
        case "days-excluded":
            return start // DAY <= instant // DAY < end // DAY
    return start <= instant < end


def _counts_of(facts: Mapping[str, object], behaviour: Behaviour) -> Counter[str]:
    kind = "voice" if facts.get("channel") in _VOICE else "chat"
    seconds = _seconds(facts)
    whole = math.ceil(seconds / 60) * 60 if behaviour.usage_minutes == "up" else seconds
    return Counter({"total_calls": 1, f"{kind}_calls": 1, f"{facts.get('direction')}_calls": 1, kind: whole})


def _seconds(facts: Mapping[str, object]) -> int:
    duration = facts.get("duration")
    return duration if isinstance(duration, int) else 0


def _document(
    days: Mapping[int, Counter[str]], asked: tuple[int, int], ends: tuple[Instant, Instant], behaviour: Behaviour
) -> dict[str, Any]:
    shown = sorted({*days, *(range(asked[0], asked[1] + 1) if behaviour.usage_daily == "full" else ())})
    if behaviour.usage_daily == "incomplete":
        shown = shown[: len(shown) // 2]
    document: dict[str, Any] = {"from": format_instant(ends[0]), "to": format_instant(ends[1])}
    document |= _figures(sum(days.values(), Counter()), behaviour)
    if behaviour.usage_daily != "absent":
        document[behaviour.usage_daily_key] = [
            {"date": date_of(day).isoformat(), **_figures(days.get(day, Counter()), behaviour)} for day in shown
        ]
    return document


def _figures(counts: Counter[str], behaviour: Behaviour) -> dict[str, Any]:
    found: dict[str, Any] = {name: counts[name] for name in _COUNTS}
    found |= {name: round(counts[name.removesuffix("_minutes")] / 60, 2) for name in _MINUTES}
    match behaviour.usage_numbers:
        case "text":
            return {name: str(value) for name, value in found.items()}
        case "float":
            return {name: float(value) for name, value in found.items()}
    return found
