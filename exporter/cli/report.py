"""Reports the results of runs that read from the API, and of a status: lines for people, figures for programs."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from exporter.cli.acceptances import acceptance_figures, describe_acceptances
from exporter.contract import TRANSCRIPT_FIELD, format_instant
from exporter.layout import MANIFEST, PARTITION_KEYS
from exporter.model import Interval
from exporter.store.location import Location, parse_location, shell_word
from exporter.words import count_of, format_seconds, format_size

if TYPE_CHECKING:
    from exporter.jobs.reread import RereadResult
    from exporter.jobs.status import Status
    from exporter.jobs.summary import Summary
    from exporter.jobs.sync import SyncResult

_SHOWN_GAPS: Final = 5


def describe_summary(summary: "Summary") -> Iterator[str]:
    """Says what was exported, where it lies, what is in doubt, and what to do next."""
    what = _describe_data(summary)
    if summary.changed:
        # The rows of a resumed export are not all from this run.
        rate = "" if summary.resumed else f", {summary.rows / max(summary.seconds, 0.001):,.0f} rows/s"
        yield what
        yield f"  took {format_seconds(summary.seconds)} and {count_of(summary.requests, 'request')}{rate}"
    else:
        yield f"nothing to do, already {what}"
    yield f"  manifest: {summary.manifest}"
    if taken := taken_for_columns(_directory(summary)):
        yield f"  {' and '.join(taken)} in its path is taken for every row's value by readers of hive partitions;"
        yield "    read it with hive partitioning off, as the query does, or move it to a directory without `=`."
    if summary.withheld:
        yield f"  not shown to this token (scope conversations:read_sensitive): {', '.join(summary.withheld)}"
        if summary.turns == 0 and TRANSCRIPT_FIELD in summary.withheld:
            yield "    without transcripts, the table turns is empty."
    destination = shell_word(_location(summary))
    if summary.unproven and not summary.is_accepted:
        yield f"  {count_of(summary.unproven, 'timestamp')} may have more rows than the API would show;"
        yield "    what it showed is kept, and the manifest names them under `unproven`. The first of these reads them"
        yield "    again, and the second compares all that was read with the source:"
        yield f"      exporter reread {destination}"
        yield f"      exporter audit {destination} --repair"
    if summary.partly_withheld and not summary.is_accepted:
        yield "  some rows came without sensitive fields, others with them: the token's role has changed;"
        yield "    the manifest names the intervals under `fields.partly_withheld`. With a token that has the scope"
        yield "    conversations:read_sensitive, this reads them again:"
        yield f"      exporter reread {destination} --withheld"
    if summary.quarantined_rows and not summary.is_accepted:
        yield f"  kept as served, because they do not fit the columns: {count_of(summary.quarantined_rows, 'row')};"
        yield "    the manifest names the files under `quarantine`."
    yield from _describe_accepted(summary)
    if summary.state == "incomplete":
        yield "  Run the same command again to go on."
    elif summary.table_kind:
        yield f"  read the {summary.table_kind.capitalize()} table, not the files under it: some are of older versions."
    elif summary.kept_files:
        yield "  files that were replaced are kept for readers of older manifests: read those that the manifest names."
    elif summary.files:
        if summary.turns is not None:
            yield "  each table is a directory of its own: read conversations or turns, never what lies above both."
        if not _is_remote(summary) and re.search(r"[\\\ud800-\udfff]", _directory(summary)):
            yield "  DuckDB finds no file below a path with a backslash, or with a name that is not UTF-8."
            return
        where = ", once it has a SECRET for this store" if _is_remote(summary) else ""
        yield f"  To look at it, paste into DuckDB{where}:\n    {_query(summary)}"


def describe_synced(synced: "SyncResult") -> Iterator[str]:
    """Says what a sync has changed, and then what the export holds."""
    yield _moved(synced)
    yield f"  {_describe_data(synced.summary)}"
    if synced.updates_since is not None:
        yield f"  up to date with what changed before {format_instant(synced.updates_since)}"
    yield from _describe_accepted(synced.summary)


def describe_reread(done: "RereadResult") -> Iterator[str]:
    """Says what a reread has changed, and then what the export holds."""
    if not done.intervals:
        yield "nothing to read again: no row came without sensitive fields"
    else:
        yield _moved(done)
    if done.kept:
        rows = count_of(done.kept, "row")
        yield f"  kept, though the API does not list them, because it has not answered 404 to their ids: {rows}"
    yield f"  {_describe_data(done.summary)}"
    yield from _describe_accepted(done.summary)


def reread_figures(done: "RereadResult") -> dict[str, Any]:
    """Returns the changes of a reread, for programs."""
    names = ("inserted", "updated", "removed", "unchanged", "rewritten", "kept")
    return {
        "intervals": [interval_figures(interval) for interval in done.intervals],
        **{name: getattr(done, name) for name in names},
    }


def synced_figures(synced: "SyncResult") -> dict[str, Any]:
    """Returns the changes of a sync, for programs."""
    before, now = synced.updates_since_before, synced.updates_since
    return {
        **{name: getattr(synced, name) for name in ("inserted", "updated", "removed", "unchanged", "rewritten")},
        "open_rows": synced.open_rows,
        "updates_since_before": None if before is None else format_instant(before),
        "updates_since": None if now is None else format_instant(now),
    }


def describe_status(found: "Status") -> Iterator[str]:
    """Says what a destination holds, what is missing, and which run is at work there."""
    yield _describe_data(found)
    if found.gaps:
        share = "" if found.covered_share is None else f"{found.covered_share:.1%} of the range is covered; "
        yield f"  {share}{count_of(len(found.gaps), 'window')} left, from the oldest:"
        yield from first_of([describe_interval(gap) for gap in found.gaps], _SHOWN_GAPS)
    if found.last_run is not None:
        run = found.last_run
        why = f": {run.message.splitlines()[0]}" if run.message else f": {run.error}" if run.error else ""
        yield f"  last run: {run.command}, ended at {run.ended_at} with exit status {run.exit_status}{why}"
    if found.updates_since is not None:
        what = "what is covered is up to date" if found.gaps else "up to date"
        yield f"  {what} with what changed before {format_instant(found.updates_since)}"
    yield from describe_acceptances(found.acceptances)
    yield f"  held by {found.holder}" if found.holder else "  no run holds it"


def status_figures(found: "Status") -> dict[str, Any]:
    """Returns a status for programs: times are ISO 8601, as in the manifest, and an open start is null."""
    return {
        **msgspec.to_builtins(found),
        "range_start": None if found.range_start is None else format_instant(found.range_start),
        "range_end": format_instant(found.range_end),
        "committed_at": None if found.committed_at is None else format_instant(found.committed_at),
        "updates_since": None if found.updates_since is None else format_instant(found.updates_since),
        "gaps": [interval_figures(gap) for gap in found.gaps],
        "acceptances": acceptance_figures(found.acceptances),
    }


def first_of(items: Sequence[str], most: int = 20, indent: str = "    ") -> Iterator[str]:
    """Returns a line for each of the first items, and one that counts the others."""
    yield from (f"{indent}{item}" for item in items[:most])
    if (more := len(items) - most) > 0:
        yield f"{indent}and {more:,} more: --json names all"


def describe_interval(interval: Interval) -> str:
    """Returns an interval in words."""
    start = "the beginning" if interval.open_below else format_instant(interval.start)
    return f"from {start} before {format_instant(interval.end)}"


def interval_figures(interval: Interval) -> dict[str, str | None]:
    """Returns an interval as the manifest writes it."""
    start = None if interval.open_below else format_instant(interval.start)
    return {"start": start, "end": format_instant(interval.end)}


def _moved(done: "SyncResult | RereadResult") -> str:
    moved = [
        f"{number:,} {what}"
        for number, what in (
            (done.inserted, "inserted"),
            (done.updated, "updated"),
            (done.removed, "removed"),
            (done.unchanged, "read again and unchanged"),
        )
        if number
    ]
    files = f"; {count_of(done.rewritten, 'file')} rewritten" if done.rewritten else ""
    return (", ".join(moved) or "nothing has changed") + files


def _describe_data(data: "Summary | Status") -> str:
    since = "" if data.range_start is None else f"from {format_instant(data.range_start)} "
    turns = "" if data.turns is None else f" with {count_of(data.turns, 'turn')}"
    return (
        f"{data.state}: {count_of(data.rows, 'conversation')}{turns} created {since}before "
        f"{format_instant(data.range_end)}, in {count_of(data.files, 'file')} of {format_size(data.bytes)}"
    )


def _describe_accepted(summary: "Summary") -> Iterator[str]:
    yield from describe_acceptances(summary.acceptances)
    if summary.exit_status == 3:
        yield "  Once you know what is in doubt, this accepts it, so that exit status 3 means a new doubt:"
        yield f"      exporter accept {shell_word(_location(summary))}"


def _is_remote(summary: "Summary") -> bool:
    return "://" in summary.manifest  # which no path holds


def _location(summary: "Summary") -> Location:
    if _is_remote(summary):
        return parse_location(summary.manifest.removesuffix(f"/{MANIFEST}"))
    return Path(summary.manifest).parent.absolute()


def _directory(summary: "Summary") -> str:
    """Returns the path of the export, also for a reader that starts in another directory."""
    return str(_location(summary))


def taken_for_columns(directory: str) -> list[str]:
    """Returns the directories above an export that are named like a partition of one of its columns.

    DuckDB and Polars look for partitions in the whole path, and let them stand in for the columns of the files.
    """
    from exporter.encode.descriptions import DESCRIPTIONS

    columns = {*PARTITION_KEYS, *(column for table in DESCRIPTIONS.values() for column in table)}
    parts = [part for part in directory.split("/") if "=" in part]
    return [part for part in parts if unquote(part.partition("=")[0]).lower() in columns]


def _query(summary: "Summary") -> str:
    directory = _directory(summary)
    is_safe = not taken_for_columns(directory)
    if not _is_remote(summary):
        directory = glob.escape(directory)
    files = f"{directory}/conversations/**/*.parquet".replace("'", "''")
    # The status is the one field for groups that every export has.
    keys = f"{summary.partition_key}, status" if summary.partition_key and is_safe else "status"
    table = f"read_parquet('{files}', hive_partitioning = {str(is_safe).lower()})"
    return f"SELECT {keys}, count(*) AS conversations FROM {table} GROUP BY ALL ORDER BY ALL;"  # noqa: S608 - escaped
