"""Chooses what the platform's summary means: the one reading of it that fits all days best. Pure.

Nobody knows whether conversations count that were never begun, or that are e-mail, which moment decides their day, and
in which time zone. Each of the few answers is tried on all days together, because one summary has one meaning.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from typing import Any, Final, Literal, TypeAlias

import msgspec

from exporter.contract import CHANNELS, DIRECTIONS, STATUSES
from exporter.jobs.reconcile_tally import Days, Facet, Moment, Sums, Tally
from exporter.run.usage import Usage
from exporter.settings import Filters
from exporter.zones import UTC_NAME

#: Says how durations become minutes: as they are, or each rounded up to a whole minute.
Minutes: TypeAlias = Literal["exact", "rounded up"]
#: The figures that count conversations, in the order in which they are shown.
COUNTS: Final = ("total", "voice", "chat", "inbound", "outbound")
MINUTES: Final = ("voice_minutes", "chat_minutes")
_EVERY: Final[Mapping[str, Collection[str | None]]] = {
    "channel": CHANNELS,
    "direction": DIRECTIONS,
    "status": STATUSES,
}
_VOICE: Final = ("telephone", "webrtc")
_EMAIL: Final = "email"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Says what a summary counts, and on which day: by the `moment` of a conversation, in the time zone `zone`."""

    zone: str = UTC_NAME
    moment: Moment = "created"
    token_created: bool = True
    email: bool = True

    def counts(self, facet: Facet) -> bool:
        return (self.token_created or not facet.is_hidden) and (self.email or facet.channel != _EMAIL)


def readings_of(tally: Tally) -> Iterator[Reading]:
    """Yields the readings that can be told apart by what is stored, the plainest first."""
    hidden = (True, False) if "status" in tally.readable else (True,)
    email = (True, False) if "channel" in tally.readable else (True,)
    for zone, moment, token_created, with_email in product(tally.zones, tally.moments, hidden, email):
        yield Reading(zone=zone, moment=moment, token_created=token_created, email=with_email)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what is stored of one day, as a reading counts it.

    Of the conversations, `unsure` lack a channel or a direction that is known. `open` counts those that were not over
    when they were read, by the minutes that they add to.
    """

    counts: Usage
    unsure: int = 0
    open: Mapping[str, int] = msgspec.field(default_factory=Counter)


NOTHING: Final = Figures(counts=Usage(total=0, voice=0, chat=0, inbound=0, outbound=0))


def figures_by_day(days: Days, reading: Reading, minutes: Minutes = "exact") -> Mapping[int, Figures]:
    """Returns what is stored of each day, counted since 1970."""
    return {day: _figures(facets, reading, minutes) for day, facets in days.items()}


def _figures(facets: Mapping[Facet, Sums], reading: Reading, way: Minutes) -> Figures:
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0) | dict.fromkeys(MINUTES, 0.0)
    unsure, open_ = 0, Counter[str]()
    for facet, sums in facets.items():
        if not reading.counts(facet):
            continue
        counts["total"] += sums.rows
        if facet.channel is not None:
            kind = "voice" if facet.channel in _VOICE else "chat"
            counts[kind] += sums.rows
            open_[f"{kind}_minutes"] += sums.rows if facet.is_open else 0
            counts[f"{kind}_minutes"] += sums.minutes_up if way == "rounded up" else sums.seconds / 60
        if facet.direction is not None:
            counts[facet.direction] += sums.rows
        unsure += sums.rows if facet.channel is None or facet.direction is None else 0
    return Figures(counts=Usage(**counts), unsure=unsure, open=open_)


class Comparable(msgspec.Struct, frozen=True, kw_only=True):
    """Says by what an export can be compared: the stored figure for each of the platform's.

    An export that is `partial` holds only some of what these count: it may have less, and not more.
    """

    figures: Mapping[str, str]
    minutes: tuple[str, ...] = ()
    partial: bool = False


def narrowing(filters: Filters) -> dict[str, str | tuple[str, ...]]:
    """Returns the filters without those that list every value that there is: they leave nothing out."""
    return {name: value for name, value in filters.items() if not _values(value) >= frozenset(_EVERY.get(name, {None}))}


def _values(value: str | Collection[str]) -> frozenset[str]:
    return frozenset({value} if isinstance(value, str) else value)


def comparable_by(readable: frozenset[str], filters: Filters) -> Comparable:
    """Returns what an export with these columns and filters can be compared by.

    A filter that leaves just what one figure counts makes that figure comparable, and no other.
    """
    has_minutes = {"channel", "duration"} <= readable
    values = {name: _values(value) for name, value in filters.items()}
    for name, value, figure in _WHOLE:
        if values == {name: value}:
            of_figure = (f"{figure}_minutes",) if name == "channel" and has_minutes else ()
            return Comparable(figures={figure: "total"}, minutes=of_figure)
    known = ["total"]
    known += ["voice", "chat"] if "channel" in readable else []
    known += ["inbound", "outbound"] if "direction" in readable else []
    minutes = MINUTES if has_minutes and not filters else ()
    return Comparable(figures={name: name for name in known}, minutes=minutes, partial=bool(filters))


_WHOLE: Final = (
    ("direction", frozenset({"inbound"}), "inbound"),
    ("direction", frozenset({"outbound"}), "outbound"),
    ("channel", frozenset(_VOICE), "voice"),
    ("channel", frozenset({"text", _EMAIL}), "chat"),
)
