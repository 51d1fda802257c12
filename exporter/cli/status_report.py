"""Reports a status: lines for people, figures for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.cli.acceptances import acceptance_figures, describe_acceptances, describe_doubtful
from exporter.cli.expire_report import describe_kept, floor_figures
from exporter.cli.fields import describe_hydrated
from exporter.cli.protection_report import describe_encryption, describe_protection
from exporter.cli.recordings_report import describe_beside, recordings_figures
from exporter.cli.report import describe_range, describe_request, request_figures
from exporter.cli.times import for_people, for_programs, period_figures, span_for_people
from exporter.errors import InterruptedExportError
from exporter.store.location import Location, shell_word
from exporter.words import count_of, format_size, percent_of

if TYPE_CHECKING:
    from exporter.jobs.status import Status
    from exporter.lake.kept import KeptTables
    from exporter.log.journal import RunRecord


def describe_status(found: "Status", destination: Location) -> Iterator[str]:
    """Says what a destination holds, what is missing, and which run is at work there."""
    yield f"{destination}  locked by {found.holder}" if found.holder else f"{destination}"
    turns = "" if found.turns is None else f" with {count_of(found.turns, 'turn')}"
    share = ""
    if found.gaps and found.covered_share is not None:
        share = f"{percent_of(found.covered_share)} of the range "
    rows = count_of(found.rows, "conversation")
    yield f"  state     {found.state}: {rows}{turns}, {share}{describe_range(found)}"
    yield f"  files     {found.files:,} of {format_size(found.bytes)}"
    if found.request is not None:
        yield f"  request   {describe_request(found.request, found)}"
    if found.table_format is not None:
        yield f"  tables    {_describe_tables(found.table_format)}"
    yield from describe_hydrated(found.hydrated)
    yield from describe_protection(found.protection, destination)
    yield from describe_encryption(found.encryption, destination)
    if found.gaps:
        oldest = found.gaps[0]
        gaps = count_of(len(found.gaps), "interval")
        yield f"  missing   {gaps}, the oldest {span_for_people(oldest.start, oldest.end)} (--json lists them)"
    elif found.updates_since is not None:
        yield f"  current   all changes up to {for_people(found.updates_since)} UTC"
    if found.last_run is not None:
        yield f"  last run  {_describe_run(found.last_run)}"
    if (run := found.unended_run) is not None:
        began = for_people(run.started_at)
        yield f"  cut short a run begun at {began} UTC on {run.host} did not end: it was killed, or works out of sight"
    if found.remains:
        yield "  remains   files may still lie there of which rows were taken away for good; the next run deletes them"
    yield from describe_beside(found.recordings)
    yield from describe_kept(found)
    if found.file_mode == "group":
        yield "  readable  by the group of the directory (--file-mode group)"
    yield from describe_doubtful(found, shell_word(destination))
    yield from describe_acceptances(found.acceptances)


def _describe_run(run: "RunRecord") -> str:
    ended_at = for_people(run.ended_at)
    if run.exit_status == InterruptedExportError.exit_status:
        return f"{run.command}, interrupted at {ended_at} UTC ({run.exit_status})"
    why = f": {run.message.splitlines()[0]}" if run.message else f": {run.error}" if run.error else ""
    return f"{run.command}, ended at {ended_at} UTC with exit status {run.exit_status}{why}"


def _describe_tables(kept: "KeptTables") -> str:
    catalog = "" if kept.catalog is None else f", by the catalog {kept.catalog}, namespace {kept.namespace}"
    return f"{kept.kind.capitalize()}{catalog}: {', '.join(kept.places.values())}"


def status_figures(found: "Status") -> dict[str, Any]:
    """Returns a status for programs: times are ISO 8601, as in the manifest, and an open start is null."""
    figures, run = msgspec.to_builtins(found), found.last_run
    # An object with an exit status tells of a command that failed.
    for name in ("request", "exit_status", "reason"):
        del figures[name]
    for name in ("protection", "encryption", "table_format"):
        if figures[name] is None:
            del figures[name]
    if found.recordings is None:
        del figures["recordings"]
    else:
        figures["recordings"] = recordings_figures(found.recordings)
    if run is not None:
        figures["last_run"] |= {"started_at": for_programs(run.started_at), "ended_at": for_programs(run.ended_at)}
    if found.unended_run is not None:
        figures["unended_run"]["started_at"] = for_programs(found.unended_run.started_at)
    return {
        **figures,
        **request_figures(found),
        "range_start": for_programs(found.range_start),
        "range_end": for_programs(found.range_end),
        "committed_at": for_programs(found.committed_at),
        "updates_since": for_programs(found.updates_since),
        "gaps": [period_figures(gap) for gap in found.gaps],
        "acceptances": acceptance_figures(found.acceptances),
        **floor_figures(found),
    }
