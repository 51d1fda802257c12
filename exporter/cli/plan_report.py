"""Reports a plan: lines for people, figures for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.cli.times import for_programs, period_figures, span_for_people
from exporter.words import count_of, format_seconds, format_size

if TYPE_CHECKING:
    from exporter.jobs.plan_result import PlanResult

_ROWS_FROM: Final = {
    "count": "counted",
    "usage": "by the usage summary",
    "sample": "estimated from a sample of pages",
}
#: An interval whose ends are further apart says nothing of what lies between.
_WIDEST: Final = 10
_SIZES_FROM: Final = {
    "files": "by the files that exist",
    "sample": "by the rows of the sample",
    "nothing": "not known: no row was seen",
}
_PACE_FROM: Final = {
    "max-rps": "as --max-rps says",
    "earlier run": "as in the last run",
    "round trips": "by the time that a page took, if the API answers as fast when it is asked more at once",
}


def describe_plan(found: "PlanResult") -> Iterator[str]:
    """Says what a run would do, and what each figure rests on."""
    what = "export of what is missing" if found.command == "export" else "sync: all that is asked for was read"
    yield f"{what}, {span_for_people(found.range_start, found.range_end)}"
    if len(found.missing) > 1:
        oldest = found.missing[0]
        gaps = count_of(len(found.missing), "interval")
        yield f"  missing   {gaps}, the oldest {span_for_people(oldest.start, oldest.end)}"
    yield f"  rows      {_describe_rows(found)}"
    if found.command == "sync":
        least = "at least " if found.changed_is_least else ""
        yield f"  changed   {least}{count_of(found.changed, 'row')} to read again, besides those that were not over"
    by_id = f", of which {found.requests_by_id:,} for single conversations" if found.requests_by_id else ""
    yield f"  requests  about {found.requests:,}, between {found.requests_low:,} and {found.requests_high:,}{by_id}"
    yield f"  network   about {format_size(found.wire_bytes)}"
    of = "" if found.partition_by == "none" else f", in {count_of(len(found.partitions), found.partition_by)}"
    files = count_of(found.files, "file")
    yield f"  at rest   about {format_size(found.bytes)} in {files}{of} ({_SIZES_FROM[found.sizes_from]})"
    pace = f"{found.requests_per_second:,.3g} requests a second"
    least, most = format_seconds(found.seconds_low), format_seconds(found.seconds_high)
    yield f"  time      about {format_seconds(found.seconds)}, between {least} and {most}"
    yield f"  pace      {pace} ({_PACE_FROM[found.pace_from]})"
    if found.recordings is not None:
        size = "" if found.recording_bytes is None else f" of about {format_size(found.recording_bytes)}"
        unknown = ", whose size is not known" if found.recording_bytes is None else ""
        yield f"  audio     about {count_of(found.recordings, 'recording')}{size}{unknown}"
    for note in found.notes:
        yield f"  note      {note}"
    yield f"  This took {count_of(found.questions, 'request')}; nothing was written."


def _describe_rows(found: "PlanResult") -> str:
    source = _ROWS_FROM[found.rows_from]
    if found.rows_from == "count":
        return f"{found.rows:,} ({source})"
    if found.rows_high is None or found.rows_high > _WIDEST * max(1, found.rows_low):
        return f"at least {found.rows_low:,}, and not known within a factor of ten ({source})"
    return f"about {found.rows:,}, in nine of ten cases {found.rows_low:,} to {found.rows_high:,} ({source})"


def plan_figures(found: "PlanResult") -> dict[str, Any]:
    """Returns a plan for programs: times are ISO 8601, as in the manifest, and an open start is null."""
    return {
        **msgspec.to_builtins(found),
        "range_start": for_programs(found.range_start),
        "range_end": for_programs(found.range_end),
        "missing": [period_figures(period) for period in found.missing],
    }
