"""Reports how the platform's totals and an export compare: lines for people, figures for programs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.cli.advice import advise
from exporter.cli.times import for_programs, span_for_people
from exporter.store.location import Location
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.reconcile_days import ComparedDay, Pair
    from exporter.jobs.reconcile_result import CountedAs, ReconcileResult

_NAMES: Final = {
    "total": "conversations",
    "voice": "voice",
    "chat": "chat",
    "inbound": "inbound",
    "outbound": "outbound",
    "voice_minutes": "voice minutes",
    "chat_minutes": "chat minutes",
}
_WHY: Final = {
    "not over": "the day was not over when the export was read",
    "not read": "not all of the day has been read, or is in the range",
    "expired": "rows of that day have expired here",
    "encrypted": "the key is not here, and files hold several days",
    "quarantined": "rows of that day are in quarantine",
    "late": "read less than a day after it ended, so some came later",
    "filtered": "the export has only what its filters leave",
    "unsure": "rows of that day have no known channel or direction",
    "erased": "erased here on request",
    "not counted yet": "the platform may count up to a day late",
    "open": "some conversations were not over when they were read",
}
_SHOWN_DAYS: Final = 40


def describe_reconciled(found: "ReconcileResult", destination: Location, *, all_days: bool) -> Iterator[str]:
    """Says whether the totals agree, then what they are, then which days differ, and why."""
    yield _verdict(found)
    what = span_for_people(found.start, found.end)
    yield f"  compared {what}: {count_of(len(found.days), 'day')}"
    yield f"  the platform counts {_reading(found.counted_as)}"
    for limit in found.limits:
        yield f"  {limit}"
    yield from _table(("", "platform", "here", "differ by"), _totals(found), widest_first=16)
    days = [day for day in found.days if all_days or day.differing]
    if days:
        yield from _table(
            ("day", "platform", "here", "differ by", "what, and why"), map(_line, days[-_shown(all_days) :])
        )
    if not all_days and (more := len(days) - _SHOWN_DAYS) > 0:
        yield f"  and {count_of(more, 'older day')} that differ: --all-days shows them"
    yield from _advice(found, destination)


def _shown(all_days: bool) -> int:
    return 1_000_000 if all_days else _SHOWN_DAYS


def _verdict(found: "ReconcileResult") -> str:
    days = count_of(len(found.days), "day")
    if found.agrees:
        return f"agrees: the platform's totals are what is here, on {days}"
    if found.unexplained:
        return f"differs: on {len(found.unexplained):,} of {days}, and nothing that the export knows explains that"
    if not found.comparable:
        return f"not comparable: the export has only what its filters leave, and not too much of that, on {days}"
    differing = sum(bool(day.differing) for day in found.days)
    return f"agrees, except for what is explained: {differing:,} of {days} differ, for reasons that are known"


def _reading(known: "CountedAs") -> str:
    words = [
        f"days of {known.zone}" if known.zone else "days of a time zone that cannot be told",
        f"by when a conversation was {known.moment}" if known.moment else "",
        *(
            f"{'with' if value else 'without'} {name}"
            for name, value in (("token_created", known.token_created), ("email", known.email))
            if value is not None
        ),
        {"rounded up": "each call's minutes rounded up", "exact": "exact minutes"}.get(known.minutes or "", ""),
    ]
    return ", ".join(filter(None, words))


def _totals(found: "ReconcileResult") -> Iterator[tuple[str, ...]]:
    for name, pair in found.totals.items():
        yield (_NAMES[name], *_cells(pair))


def _line(day: "ComparedDay") -> tuple[str, ...]:
    names = day.differing or tuple(day.figures)[:1]
    pair = day.figures[names[0]]
    why = ""
    if day.differing:
        what = ", ".join(_NAMES[name] for name in names)
        reasons = "; ".join(_WHY[reason] for reason in day.reasons)
        why = f"{what}: {reasons or ('the platform does not list the day' if pair.there is None else 'NOT EXPLAINED')}"
    return (day.day.isoformat(), *_cells(pair), why)


def _cells(pair: "Pair") -> tuple[str, str, str]:
    if pair.there is None:
        return "-", f"{pair.here:,}", ""
    missing = round(pair.here - pair.there, 2)
    return f"{pair.there:,}", f"{pair.here:,}", f"{missing:+,}" if missing else "0"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, widest_first: int = 10) -> Iterator[str]:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    widths[0] = max(widths[0], widest_first)
    for first, *others in lines:
        cells = [f"{cell:>{width}}" for cell, width in zip(others[:3], widths[1:], strict=True)]
        yield "  ".join([f"  {first:{widths[0]}}", *cells, *others[3:]]).rstrip()


def _advice(found: "ReconcileResult", destination: Location) -> Iterator[str]:
    if not found.unexplained:
        return
    pair = next(iter(found.totals.values()), None)
    if pair is not None and not pair.missing:
        yield "  The sums of all days are the same: its days may be those of another time zone. Name it: --days-in ZONE"
        return
    command = advise("audit", destination)
    yield f"  {command} compares every id with the API's list, and tells which side is wrong."
    yield "  If it finds nothing, the platform counts otherwise: deleted conversations, or rows that its list repeats."


def reconciled_figures(found: "ReconcileResult") -> dict[str, Any]:
    """Returns a comparison for programs, with all days."""
    return {
        "agrees": found.agrees,
        "explained": found.explained,
        "comparable": found.comparable,
        "state": found.state,
        "generation": found.generation,
        "start": for_programs(found.start),
        "end": for_programs(found.end),
        "counted_as": msgspec.to_builtins(found.counted_as),
        "totals": msgspec.to_builtins(found.totals),
        "unexplained": [day.isoformat() for day in found.unexplained],
        "days": [msgspec.to_builtins(day) for day in found.days],
        "limits": list(found.limits),
        "requests": found.requests,
        "seconds": found.seconds,
    }
