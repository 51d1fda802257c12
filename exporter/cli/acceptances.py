"""Reports who has accepted doubts of an export: lines for people, figures for programs."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from exporter.contract import format_instant
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.log.acceptance import Acceptance


def describe_acceptances(acceptances: "Iterable[Acceptance]") -> Iterator[str]:
    """Says how many doubts were accepted, when, by whom and why."""
    for one in acceptances:
        why = f" ({one.note})" if one.note else ""
        yield f"  accepted: {count_of(len(one.doubts), 'doubt')} on {format_instant(one.at)[:10]} by {one.by}{why}"


def acceptance_figures(acceptances: "Iterable[Acceptance]") -> list[dict[str, Any]]:
    """Returns acceptances for programs, with the number of doubts that each names."""
    return [
        {"at": format_instant(one.at), "by": one.by, "note": one.note, "doubts": len(one.doubts)} for one in acceptances
    ]
