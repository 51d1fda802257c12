"""Reports the result of `exporter accept`: lines for people, figures for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from exporter.cli.acceptances import acceptance_figures, describe_acceptances
from exporter.cli.report import describe_interval, first_of, interval_figures
from exporter.contract import format_instant
from exporter.log.doubts import spans_of
from exporter.store.location import Location, shell_word
from exporter.words import count_of, describe_span

if TYPE_CHECKING:
    from exporter.jobs.accept import AcceptResult
    from exporter.log.acceptance import Doubts


def describe_accepted(done: "AcceptResult", destination: Location, dry_run: bool) -> Iterator[str]:
    """Says which doubts were accepted, or would be, and what remains to be done."""
    number = len(done.doubts)
    if number:
        yield f"{'would accept' if dry_run else 'accepted'} {count_of(number, 'doubt')}:"
        yield from first_of(list(_describe_doubts(done.doubts)), indent="  ")
    else:
        yield f"nothing {'more ' if done.acceptances else ''}to accept: the export is {done.state}"
    if not dry_run or not number:
        yield from describe_acceptances(done.acceptances)
    if number and not dry_run:
        yield "  The manifest still names what is in doubt. From now on, exit status 3 means another doubt."
    if done.is_unsettled:
        yield "  A run was cut short before it knew that each row is in one place. The next run checks that:"
        yield f"    exporter export {shell_word(destination)}"
    elif done.state == "incomplete":
        yield f"  A part of the range is missing: run exporter export {shell_word(destination)}"


def accepted_figures(done: "AcceptResult") -> dict[str, Any]:
    """Returns the result of an acceptance for programs, with times as in the manifest."""
    doubts = done.doubts
    return {
        "state": done.state,
        "generation": done.generation,
        "doubts": len(doubts),
        "unproven": [
            {**interval_figures(one.interval), "rows": one.rows, "reason": one.reason} for one in doubts.times
        ],
        "quarantine": [{"path": file.path, "rows": file.rows} for file in doubts.quarantine],
        "partly_withheld": [{**interval_figures(one.interval), "rows": one.rows} for one in doubts.withheld],
        "unsettled": done.is_unsettled,
        "accepted": acceptance_figures(done.acceptances),
    }


def _describe_doubts(doubts: "Doubts") -> Iterator[str]:
    for time in doubts.times:
        when = format_instant(time.created_at) if time.since is None else describe_interval(time.interval)
        sizes = [
            *(describe_span(one) for one in spans_of([time]) if one is not None),
            *([f"{count_of(time.rows, 'row')} read"] if time.rows else []),
        ]
        size = f" ({', '.join(sizes)})" if sizes else ""
        yield f"unproven: {when}{size}: {time.reason}"
    for file in doubts.quarantine:
        yield f"quarantine: {count_of(file.rows, 'row')} in {file.path}"
    for rows in doubts.withheld:
        yield f"withheld: {count_of(rows.rows, 'row')} without sensitive fields {describe_interval(rows.interval)}"
