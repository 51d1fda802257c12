"""Reports the result of `exporter accept`: lines for people, figures for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from exporter.cli.acceptances import acceptance_figures, describe_acceptances
from exporter.cli.report import first_of
from exporter.cli.times import by_start, describe_period, describe_time, period_figures
from exporter.store.location import Location, shell_word
from exporter.words import count_of, describe_span

if TYPE_CHECKING:
    from exporter.jobs.accept import AcceptResult


def describe_accepted(done: "AcceptResult", destination: Location, dry_run: bool) -> Iterator[str]:
    """Says which doubts were accepted, or would be, and what remains to be done."""
    number = done.number
    if number:
        yield f"{'would accept' if dry_run else 'accepted'} {count_of(number, 'doubt')}:"
        yield from first_of(list(_describe_doubts(done)), indent="  ")
    else:
        yield f"nothing {'more ' if done.accepted else ''}to accept: the export is {done.state}"
    if not dry_run or not number:
        yield from describe_acceptances(done.accepted)
    if number and not dry_run:
        yield "  The manifest still names what is in doubt. From now on, exit status 3 means another doubt."
    if done.unsettled:
        yield "  A run was cut short before it knew that each row is in one place. The next run checks that:"
        yield f"    exporter export {shell_word(destination)}"
    elif done.state == "incomplete":
        yield f"  A part of the range is missing: run exporter export {shell_word(destination)}"


def accepted_figures(done: "AcceptResult") -> dict[str, Any]:
    """Returns the result of an acceptance for programs, with times as in the manifest."""
    return {
        "state": done.state,
        "generation": done.generation,
        "doubts": done.number,
        "unproven": [{**period_figures(one.period), "rows": one.rows, "reason": one.reason} for one in done.unproven],
        "quarantine": [{"path": file.path, "rows": file.rows} for file in done.quarantine],
        "partly_withheld": [{**period_figures(one.period), "rows": one.rows} for one in done.partly_withheld],
        "unsettled": done.unsettled,
        "accepted": acceptance_figures(done.accepted),
    }


def _describe_doubts(done: "AcceptResult") -> Iterator[str]:
    for time in sorted(done.unproven, key=by_start):
        sizes = [] if time.period is None or time.period.is_instant else [describe_span(time.period.seconds)]
        sizes += [f"{count_of(time.rows, 'row')} read"] if time.rows else []
        size = f" ({', '.join(sizes)})" if sizes else ""
        yield f"unproven: {describe_time(time.period)}{size}: {time.reason}"
    for file in done.quarantine:
        yield f"quarantine: {count_of(file.rows, 'row')} in {file.path}"
    for rows in done.partly_withheld:
        yield f"withheld: {count_of(rows.rows, 'row')} without sensitive fields {describe_period(rows.period)}"
