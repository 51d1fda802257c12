"""Reports who has accepted doubts of an export: lines for people, figures for programs."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from exporter.contract import format_datetime
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.doubts import Accepted


def describe_acceptances(acceptances: "Iterable[Accepted]") -> Iterator[str]:
    """Says how many doubts were accepted, when, by whom and why."""
    for one in acceptances:
        why = f" ({one.note})" if one.note else ""
        yield f"  accepted: {count_of(one.number, 'doubt')} on {one.at.date().isoformat()} by {one.by}{why}"


def acceptance_figures(acceptances: "Iterable[Accepted]") -> list[dict[str, Any]]:
    """Returns acceptances for programs, with the number of doubts that each names."""
    return [
        {"at": format_datetime(one.at), "by": one.by, "note": one.note, "doubts": one.number} for one in acceptances
    ]
