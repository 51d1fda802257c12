"""Reports the results of runs that read from the API: lines for people, figures for programs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.cli.acceptances import describe_acceptances
from exporter.cli.advice import advise
from exporter.cli.fields import describe_hydrated, not_shown
from exporter.cli.log import key_values
from exporter.cli.protection_report import describe_encryption, describe_protection
from exporter.cli.query import directory_of, location_of, taken_for_columns
from exporter.cli.recordings_report import describe_beside
from exporter.cli.times import for_people, for_programs, span_for_people
from exporter.contract import TRANSCRIPT_FIELD
from exporter.layout import MANIFEST
from exporter.settings import Request
from exporter.words import count_of, describe_times, format_seconds, format_size, key_value
from exporter.zones import UTC_NAME

if TYPE_CHECKING:
    from exporter.jobs.reread import RereadResult
    from exporter.jobs.status import Status
    from exporter.jobs.summary import Summary
    from exporter.jobs.sync_result import SyncResult


def describe_summary(summary: "Summary") -> Iterator[str]:
    """Says what the export holds, what this run has added, where it lies, what is in doubt, and what to do next."""
    new = ", ".join([f"{summary.new_rows:,} new", *_expired(summary)])
    yield _first_line(summary)
    yield f"  this run  {_with_cost(new, summary) if summary.changed else 'nothing to do: all of it was there'}"
    yield from _describe_place(summary)
    yield from describe_beside(summary.recordings)
    yield from describe_surprises(summary)
    yield from _describe_doubts(summary)


def describe_request(request: Request, data: "Summary | Status") -> str:
    """Returns what an export holds by request: its organization, filters, fields, partitions and tables."""
    zone = "" if request.timezone == UTC_NAME else f" in {request.timezone}"
    by = "not partitioned" if request.partition_by == "none" else f"by {request.partition_by}{zone}"
    filters = [
        key_values("", {name: _filter_text(value)}).strip()
        + (" (the API ignores it)" if name in request.ignored_filters else "")
        for name, value in request.filters.items()
    ]
    words = [
        f"organization {'not known' if data.organization is None else data.organization}",
        f"filters {' '.join(filters) or 'none'}",
        ("all fields" if request.fields is None else f"fields {', '.join(request.fields)}") + not_shown(data.withheld),
        by,
        f"tables {', '.join(request.tables)}",
    ]
    return " · ".join(filter(None, words))


def _first_line(summary: "Summary") -> str:
    sign = "! " if summary.exit_status else "✔ "
    turns = "" if summary.turns is None else f" with {count_of(summary.turns, 'turn')}"
    state = f"{summary.state}, accepted" if summary.state == "unproven" and summary.is_accepted else summary.state
    return f"{sign}{state}  {count_of(summary.rows, 'conversation')}{turns}, {describe_range(summary)}"


def describe_range(data: "Summary | Status") -> str:
    """Returns which times an export covers."""
    # An end that the clock has set lies between two rows anyway.
    excluded = " (not included)" if not data.range_end.microsecond else ""
    return f"{span_for_people(data.range_start, data.range_end)}{excluded}"


def _with_cost(done: str, summary: "Summary") -> str:
    slowed = f" ({summary.throttled:,} slowed down)" if summary.throttled else ""
    return f"{done} · {count_of(summary.requests, 'request')}{slowed} · {format_seconds(summary.seconds)}"


def _expired(summary: "Summary") -> list[str]:
    return [f"{summary.expired_rows:,} expired"] if summary.expired_rows else []


def _describe_place(summary: "Summary") -> Iterator[str]:
    place = summary.manifest.removesuffix(MANIFEST).rstrip("/") or "."
    kept = f"{count_of(summary.files, 'file')}, {format_size(summary.bytes)}"
    readable = ", readable by its group" if summary.file_mode == "group" else ""
    yield f"  at        {place} ({kept}{readable}), generation {summary.generation:,}"
    if summary.request is not None:
        yield f"  request   {describe_request(summary.request, summary)}"
    yield from describe_hydrated(summary.hydrated)
    yield from describe_protection(summary.protection, location_of(summary))
    yield from describe_encryption(summary.encryption, location_of(summary))


def _describe_doubts(summary: "Summary") -> Iterator[str]:
    if taken := taken_for_columns(directory_of(summary)):
        yield f"  {' and '.join(taken)} in its path is taken for every row's value by readers of hive partitions;"
        yield "    read it with hive partitioning off, as the query does, or move it to a directory without `=`."
    yield from describe_new_doubts(summary)
    yield from _describe_accepted(summary)
    if summary.state == "incomplete":
        yield "  Run the same command again to go on."
    elif summary.table_kind:
        yield f"  read the {summary.table_kind.capitalize()} table, not the files under it: some are of older versions."
    elif summary.kept_files:
        yield "  files that were replaced are kept for readers of older manifests: read those that the manifest names."
    elif summary.files and summary.turns is not None:
        yield "  read conversations/ and turns/ separately: each is a table of its own."


def describe_new_doubts(summary: "Summary") -> Iterator[str]:
    """Says what is in doubt that nobody has accepted. What is indented further adds to the line before it."""
    destination = location_of(summary)
    if summary.unproven and not summary.is_accepted:
        times = describe_times(summary.unproven, summary.unproven_seconds, summary.unproven_rows)
        yield f"  {times} may have more rows than the API would show;"
        yield "    what it showed is kept, and the manifest names them under `unproven`. The first of these reads them"
        yield "    again, and the second compares all that was read with the source:"
        yield f"      {advise('reread', destination)}"
        yield f"      {advise('audit', destination, '--repair')}"
    if summary.partly_withheld and not summary.is_accepted:
        yield "  some rows came without sensitive fields, others with them: the token's role has changed;"
        yield "    the manifest names the intervals under `fields.partly_withheld`. With a token that has the scope"
        yield "    conversations:read_sensitive, this reads them again:"
        yield f"      {advise('reread', destination, '--withheld')}"
    if summary.quarantined_rows and not summary.is_accepted:
        withholds = summary.protection is not None and summary.protection.quarantine == "withhold"
        kept = "withheld, with a keyed hash in their place" if withholds else "kept as served"
        yield f"  {kept}, because they do not fit the columns: {count_of(summary.quarantined_rows, 'row')};"
        yield "    the manifest names the files under `quarantine`."


def describe_surprises(summary: "Summary") -> Iterator[str]:
    """Says why there may be less, or more, than was expected: an end that lies ahead, filters that match nothing or
    everything, or fields that were not shown to the token. What is indented further adds to the line before it."""
    if summary.end_ahead is not None:
        asked, end = for_people(summary.end_ahead), for_people(summary.range_end)
        yield f"  --until {asked} UTC lies ahead; exported up to {end} UTC, run again later for the rest."
    if summary.request is not None and summary.matches_nothing:
        wanted = [key_value(name, _filter_text(value)) for name, value in summary.request.filters.items()]
        yield f"  nothing in this range matches {' and '.join(wanted)}."
    if summary.request is not None and (ignored := summary.request.ignored_filters):
        filters, it = ("filter", "it") if len(ignored) == 1 else ("filters", "them")
        yield f"  the API ignores the {filters} {', '.join(ignored)}: nothing was left out by {it}."
    if summary.withheld:
        # What was there before this run may have been read with another token.
        token = "the token that read them" if summary.resumed else "this token"
        yield f"  fields not shown to {token} (scope conversations:read_sensitive): {', '.join(summary.withheld)}"
        if summary.turns == 0 and TRANSCRIPT_FIELD in summary.withheld:
            yield "    without transcripts, the table turns is empty."
        if summary.resumed:
            yield "    With a token that has the scope, this reads them again:"
            yield f"      {advise('reread', location_of(summary), '--withheld')}"


def _filter_text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def request_figures(data: "Summary | Status") -> dict[str, Any]:
    """Returns what an export holds by request, for programs; `fields` is null if it holds all."""
    return {
        "organization": data.organization,
        **msgspec.to_builtins(data.request or Request()),
        "hydrated": msgspec.to_builtins(data.hydrated),
    }


def describe_synced(synced: "SyncResult") -> Iterator[str]:
    """Says what the export holds, and what a sync has changed. A sync that has changed nothing is told in two lines."""
    summary, until = synced.summary, synced.updates_since
    known = "" if until is None else f"all changes up to {for_people(until)} UTC"
    changes = (synced.inserted, synced.updated, synced.removed, synced.rewritten, summary.expired_rows)
    if synced.exit_status == 0 and not any(changes):
        read = f"; {synced.unchanged:,} read again and unchanged" if synced.unchanged else ""
        place = f"at {location_of(summary)}, generation {summary.generation:,}"
        yield f"✔ up to date  {count_of(summary.rows, 'conversation')}, nothing has changed{read}"
        yield f"  {' · '.join(filter(None, [known, _with_cost(place, summary)]))}"
        yield from describe_beside(summary.recordings)
        yield from describe_surprises(summary)
        yield from describe_acceptances(summary.acceptances)
        return
    yield _first_line(summary)
    yield f"  this run  {_with_cost(_moved(synced), summary)}"
    if known:
        yield f"  current   {known}"
    yield from _describe_place(summary)
    yield from describe_beside(summary.recordings)
    yield from describe_surprises(summary)
    yield from _describe_doubts(summary)


def describe_reread(done: "RereadResult") -> Iterator[str]:
    """Says what the export holds, and what a reread has changed."""
    moved = _moved(done) if done.intervals else "nothing to read again: no row came without sensitive fields"
    yield _first_line(done.summary)
    yield f"  this run  {_with_cost(moved, done.summary)}"
    if done.kept:
        rows = count_of(done.kept, "row")
        yield f"  kept, though the API does not list them, because it has not answered 404 to their ids: {rows}"
    yield from _describe_place(done.summary)
    yield from describe_surprises(done.summary)
    yield from _describe_doubts(done.summary)


def synced_figures(synced: "SyncResult") -> dict[str, Any]:
    """Returns the changes of a sync, for programs."""
    before, now = synced.updates_since_before, synced.updates_since
    return {
        **{name: getattr(synced, name) for name in ("inserted", "updated", "removed", "unchanged", "rewritten")},
        "open_rows": synced.open_rows,
        "updates_since_before": for_programs(before),
        "updates_since": for_programs(now),
    }


def first_of(items: Sequence[str], most: int = 20, indent: str = "    ") -> Iterator[str]:
    """Returns a line for each of the first items, and one that counts the others."""
    yield from (f"{indent}{item}" for item in items[:most])
    if (more := len(items) - most) > 0:
        yield f"{indent}and {more:,} more: --json names all"


def _moved(done: "SyncResult | RereadResult") -> str:
    moved = [
        f"{number:,} {what}"
        for number, what in (
            (done.inserted, "inserted"),
            (done.updated, "updated"),
            (done.removed, "removed"),
            (done.unchanged, "read again and unchanged"),
            (done.summary.expired_rows, "expired"),
        )
        if number
    ]
    files = f"; {count_of(done.rewritten, 'file')} rewritten" if done.rewritten else ""
    return (", ".join(moved) or "nothing has changed") + files


def _describe_accepted(summary: "Summary") -> Iterator[str]:
    yield from describe_acceptances(summary.acceptances)
    if summary.own_status == 3:
        yield "  Once you know what is in doubt, this accepts it, so that exit status 3 means a new doubt:"
        yield f"      {advise('accept', location_of(summary))}"
