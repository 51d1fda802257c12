"""Reads the totals by day that the platform itself counts, and bills: its usage summary.

Nobody knows whether the ends of the range that is asked for count, or in which zone its days are. So a day more is
asked for on either side, and only the days in between are believed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final

import msgspec

from exporter.clock import wall_clock
from exporter.contract import DAY, EPOCH, USAGE_DAYS, USAGE_PATH, Instant, format_instant
from exporter.coverage import Interval
from exporter.errors import AccessError, RequestRefusedError, UnusableAnswerError
from exporter.partitions import date_of, day_number
from exporter.pipeline.reader import Reader

#: The days of a request that are believed: all but the first and the last.
_DAYS_OF_REQUEST: Final = USAGE_DAYS - 2
#: No count is as large as this.
_TOO_LARGE: Final = 10**15
#: The names that a figure may have, the documented one first.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "total": ("total_calls", "total", "calls", "count", "conversations"),
    "voice": ("voice_calls", "voice"),
    "chat": ("chat_calls", "chat"),
    "inbound": ("inbound_calls", "inbound"),
    "outbound": ("outbound_calls", "outbound"),
    "voice_minutes": ("voice_minutes",),
    "chat_minutes": ("chat_minutes",),
}
_MINUTES: Final = ("voice_minutes", "chat_minutes")
#: The names that the day of a row may have.
_DAY_NAMES: Final = ("date", "day", "period", "bucket", "timestamp", "start", "from")
_DATE: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?", re.ASCII)
_DECIMAL: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what the platform has counted: conversations, those of each kind, and minutes. None: it does not say."""

    total: int
    voice: int | None = None
    chat: int | None = None
    inbound: int | None = None
    outbound: int | None = None
    voice_minutes: float | None = None
    chat_minutes: float | None = None


class UsageDay(Usage, frozen=True, kw_only=True):
    """Holds what the platform has counted on one of its days."""

    day: date


class UsageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Holds one answer, to the question for what lies in `asked`: its `total`, and its `days` as it lists them.

    `days` is None if the answer has no list of days.
    """

    asked: Interval
    total: Usage
    days: tuple[UsageDay, ...] | None

    def holds(self, day: date) -> bool:
        """Returns whether all of a day was asked for, whatever the ends mean and in any time zone."""
        start = day_number(day) * DAY
        return self.asked.start + DAY <= start and start + 2 * DAY <= self.asked.end

    @property
    def is_whole(self) -> bool:
        """Returns whether the days add up to the total, so that a day that is not listed had no conversation."""
        return self.days is not None and sum(day.total for day in self.days) == self.total.total


async def usage_between(reader: Reader, since: Instant, until: Instant) -> tuple[UsageDay, ...]:
    """Returns the days of UTC from that of `since` up to that of the last instant before `until`, in ascending order.

    A day on which nothing happened may be left out. It takes a request for each 364 days. Raises `AccessError` if the
    token lacks `billing:manage`, `UnusableAnswerError` if the answer is not such a summary, has no list of days or
    leaves some out, and `SourceError` like any request.
    """
    summaries = await read_usage(reader, since, until)
    if not all(summary.is_whole for summary in summaries):
        raise UnusableAnswerError("the usage summary does not list all days that its total counts")
    found = merged(summaries)
    first, last = date_of(since // DAY), date_of((until - 1) // DAY)
    return tuple(found[day] for day in sorted(found) if first <= day <= last)


async def read_usage(reader: Reader, since: Instant, until: Instant) -> tuple[UsageSummary, ...]:
    """Returns the summaries that have all days of UTC between `since` and `until`, each asked for with a day around it.

    They may overlap. Raises as `usage_between`, except for what days an answer lists.
    """
    return tuple([await _read(reader, asked) for asked in questions(since, until, wall_clock())])


async def read_earlier_usage(reader: Reader, before: Instant) -> tuple[tuple[UsageSummary, ...], Instant]:
    """Returns the summaries of what was counted before a day of UTC, and the first day that has any; `before` itself if
    none has.

    It goes back by 364 days a request, until one of them has no conversation. Raises as `read_usage`.
    """
    found, first = list[UsageSummary](), before
    while before > EPOCH:
        since = max(before - _DAYS_OF_REQUEST * DAY, EPOCH)
        (summary,) = await read_usage(reader, since, before)
        # A day more is asked for, which is known already.
        days = [start for day in summary.days or () if day.total and (start := day_number(day.day) * DAY) < before]
        if not summary.total.total or (summary.is_whole and not days):
            break
        found.append(summary)
        first = min(days) if summary.is_whole else since
        before = since
    return tuple(found), first


def merged(summaries: Iterable[UsageSummary]) -> dict[date, UsageDay]:
    """Returns the days of several answers. One that is at an end of an answer is taken from the one that holds it."""
    found: dict[date, UsageDay] = {}
    for summary in summaries:
        found |= {day.day: day for day in summary.days or () if day.day not in found or summary.holds(day.day)}
    return found


def questions(since: Instant, until: Instant, now: Instant) -> Iterator[Interval]:
    """Yields what to ask for, so that each day of UTC between `since` and `until` lies inside, up to `now` at most."""
    first, end = since // DAY, (until - 1) // DAY + 1
    for start in range(first, end, _DAYS_OF_REQUEST):
        stop = min(start + _DAYS_OF_REQUEST, end)
        last = min((stop + 1) * DAY, max(until, now))
        yield Interval((start - 1) * DAY, last)


async def _read(reader: Reader, asked: Interval) -> UsageSummary:
    parameters = {"from": format_instant(asked.start), "to": format_instant(asked.end)}
    try:
        answer = await reader.objects.at(USAGE_PATH, parameters)
    except AccessError as error:
        if error.is_forbidden:
            raise AccessError(
                "the usage summary needs a token with the scope billing:manage, which this one lacks", is_forbidden=True
            ) from error
        raise
    if answer is None:
        raise RequestRefusedError(f"this API has no usage summary: {USAGE_PATH} answers 404")
    return summary_of(answer, asked)


def summary_of(answer: Mapping[str, Any], asked: Interval) -> UsageSummary:
    """Returns what an answer says. Raises `UnusableAnswerError` if it counts nothing, or a value is no number."""
    counts = answer
    for inner in ("summary", "totals", "data", "usage"):
        if not _has_total(counts) and isinstance(answer.get(inner), dict):
            counts = answer[inner]
    total = Usage(**_figures(counts))
    rows = _find_days(answer)
    if rows is None and counts is not answer:
        rows = _find_days(counts)
    days = None if rows is None else _joined(rows, total.total)
    return UsageSummary(asked=asked, total=total, days=days)


def _has_total(counts: Mapping[str, Any]) -> bool:
    return any(name in counts for name in (*_NAMES["total"], *_NAMES["voice"]))


def _find_days(answer: Mapping[str, Any]) -> list[UsageDay] | None:
    """Returns the rows of the list of days, by whatever key it is there: a list of rows, or an object by day."""
    for value in answer.values():
        rows = (
            [{"date": day, **row} for day, row in value.items() if isinstance(row, dict)]
            if isinstance(value, dict)
            else value
        )
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            continue
        dates = [_date_of(row) for row in rows]
        if None not in dates:
            return [UsageDay(day=day, **_figures(row)) for day, row in zip(dates, rows, strict=True) if day]
    # Without a conversation, there may be no day to list.
    return [] if [] in answer.values() else None


def _date_of(row: Mapping[str, Any]) -> date | None:
    for name in _DAY_NAMES:
        if isinstance(value := row.get(name), str) and (match := _DATE.fullmatch(value)):
            try:
                return date.fromisoformat(match.group(1))
            except ValueError:
                return None
    return None


def _joined(rows: Iterable[UsageDay], total: int) -> tuple[UsageDay, ...]:
    """Returns the days in ascending order, each once. What is listed in several rows is one row served again, or
    counted apart: whichever adds up to the total."""
    once: dict[date, UsageDay] = {}
    added: dict[date, UsageDay] = {}
    for row in rows:
        once[row.day] = row
        added[row.day] = _sum(added[row.day], row) if row.day in added else row
    chosen = once if sum(row.total for row in once.values()) == total else added
    return tuple(chosen[day] for day in sorted(chosen))


def _sum(one: UsageDay, other: UsageDay) -> UsageDay:
    def add(name: str) -> Any:
        ours, theirs = getattr(one, name), getattr(other, name)
        return None if ours is None or theirs is None else ours + theirs

    return UsageDay(day=one.day, **{name: add(name) for name in _NAMES})


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures of a row by our names. Raises `UnusableAnswerError` if it has no total."""
    found = {name: _figure(row, name) for name in _NAMES}
    if found["total"] is None and found["voice"] is not None and found["chat"] is not None:
        found["total"] = found["voice"] + found["chat"]
    if found["total"] is None:
        raise UnusableAnswerError("the usage summary does not say how many conversations there were: no total_calls")
    return found


def _figure(row: Mapping[str, Any], name: str) -> int | float | None:
    for key in _NAMES[name]:
        value = row.get(key)
        if isinstance(value, (dict, list)) and key != _NAMES[name][0]:
            continue
        if value is not None:
            return _number(key, value, is_whole=name not in _MINUTES)
    return None


def _number(key: str, value: Any, *, is_whole: bool) -> int | float:
    """Returns a number that may come as a text or as a float. Raises `UnusableAnswerError`."""
    number: Any = value
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        number = float(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < _TOO_LARGE:
        raise UnusableAnswerError(f"the usage summary has a {key} that is no count: {str(value)[:40]!r}")
    if not is_whole:
        return float(number)
    if number != int(number):
        raise UnusableAnswerError(f"the usage summary has a {key} that is no whole number: {number}")
    return int(number)
