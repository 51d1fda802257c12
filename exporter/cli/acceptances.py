"""Reports what is in doubt, and who has accepted it: lines for people, figures for programs."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from exporter.contract import format_datetime
from exporter.words import count_of, describe_times

if TYPE_CHECKING:
    from exporter.jobs.doubts import Accepted
    from exporter.jobs.status import Status


def describe_acceptances(acceptances: "Iterable[Accepted]") -> Iterator[str]:
    """Says how many doubts were accepted, when, by whom and why."""
    for one in acceptances:
        why = f" ({one.note})" if one.note else ""
        yield f"  accepted: {count_of(one.number, 'doubt')} on {one.at.date().isoformat()} by {one.by}{why}"


def describe_doubtful(found: "Status", destination: str) -> Iterator[str]:
    """Says how much is in doubt, of which kinds, and what lists it."""
    kinds = [
        describe_times(found.unproven, found.unproven_seconds, found.unproven_rows) if found.unproven else "",
        f"{count_of(found.quarantined_rows, 'row')} in quarantine" if found.quarantined_rows else "",
        f"rows without sensitive fields in {count_of(found.partly_withheld, 'interval')}"
        if found.partly_withheld
        else "",
    ]
    if any(kinds):
        known = "" if found.new_doubts else "; all of it is accepted"
        yield f"  in doubt  {', '.join(filter(None, kinds))}{known}"
    if found.new_doubts:
        doubts = count_of(found.new_doubts, "doubt")
        yield f"    {doubts} not accepted: exporter accept {destination} --dry-run lists them"
    if found.unsettled and not found.holder:
        yield "  unsettled a run was cut short; the next run checks that each row is in one place"


def acceptance_figures(acceptances: "Iterable[Accepted]") -> list[dict[str, Any]]:
    """Returns acceptances for programs, with the number of doubts that each names."""
    return [
        {"at": format_datetime(one.at), "by": one.by, "note": one.note, "doubts": one.number} for one in acceptances
    ]
