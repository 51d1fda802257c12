"""Reports how many exports have ended: a table for people, figures for programs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from exporter.cli.fleet_display import outcome_figures
from exporter.fleet.outcome import Outcome, worst_status
from exporter.words import count_of, format_seconds

_COLUMNS: Final = ("name", "result", "rows", "new", "requests", "seconds")
_FIRST_NUMBER: Final = 2


def describe_outcomes(outcomes: Sequence[Outcome], requests: int, seconds: float) -> Iterator[str]:
    """Says how exports have ended: how many of each kind, a line for each, and why some are not complete."""
    endings = Counter(each.ending for each in outcomes)
    counts = ", ".join(f"{number:,} {ending}" for ending, number in endings.most_common())
    rate = f", {requests / seconds:,.1f} a second" if seconds > 0 else ""
    took = f"{count_of(requests, 'request')} in {format_seconds(seconds)}{rate}"
    yield f"{count_of(len(outcomes), 'export')}: {counts}; {took}"
    yield from _table([_cells_of(each) for each in outcomes])
    for each in outcomes:
        if each.exit_status:
            first, *others = (each.reason or f"exporter status {each.name} says why").splitlines()
            yield f"  {each.name}: {each.ending} ({each.exit_status}): {first}"
            yield from (f"    {line}" for line in others)


def fleet_figures(outcomes: Sequence[Outcome], requests: int, seconds: float) -> dict[str, Any]:
    """Returns how exports have ended, for programs."""
    return {
        "status": worst_status(each.exit_status for each in outcomes),
        "endings": dict(Counter(each.ending for each in outcomes)),
        "rows": sum(_number(each, "rows") for each in outcomes),
        "new_rows": sum(_number(each, "new_rows") for each in outcomes),
        "requests": requests,
        "seconds": round(seconds, 3),
        "exports": [outcome_figures(each) for each in outcomes],
    }


def _number(outcome: Outcome, key: str) -> int:
    value = (outcome.summary or {}).get(key)
    return value if isinstance(value, int) else 0


def _cells_of(outcome: Outcome) -> tuple[str, ...]:
    counts = ("rows", "new_rows", "requests")
    numbers = ("", "", "") if outcome.summary is None else (f"{_number(outcome, each):,}" for each in counts)
    return (outcome.name, outcome.ending, *numbers, f"{outcome.seconds:,.0f}")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in (_COLUMNS, *rows):
        padded = [
            cell.rjust(width) if column >= _FIRST_NUMBER else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"    {'  '.join(padded)}"
