"""Reports the result of an audit: lines for people, figures for programs."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.cli.advice import advise
from exporter.cli.times import by_start, describe_time, period_figures, span_for_people
from exporter.schedule.differences import KINDS
from exporter.store.location import Location
from exporter.words import count_of
from exporter.zones import UTC_NAME

if TYPE_CHECKING:
    from exporter.jobs.audit_result import AuditResult, AuditSample, RepairResult
    from exporter.jobs.doubts import Doubt

_COLUMNS: Final = ("listed", "kept", *KINDS)
_DIFFERENCES: Final = [kind for kind in KINDS if kind != "later"]
_REPAIRED: Final = ("inserted", "updated", "removed", "unlisted", "new_doubts")
_SHOWN_DAYS: Final = 40
_SHOWN_TIMES: Final = 5


def describe_audited(found: "AuditResult", destination: Location) -> Iterator[str]:
    """Says how the dataset differs from the source, by day, and what to do about it."""
    findings = found.findings
    what = "part of it was drawn at random" if found.sampled else "all of it"
    listed = count_of(findings.total("listed"), "conversation")
    had = "in the export" if found.repaired is None else "in the export before the repair"
    yield f"{_verdict(found)}: {listed} listed, {findings.total('kept'):,} {had}"
    yield f"  compared what was created {span_for_people(found.audited.start, found.audited.end)}: {what}"
    if (sample := found.sample) is not None:
        yield f"  {_bound(sample)}"
    days = [day for day, counts in findings.days.items() if any(counts[kind] for kind in _DIFFERENCES)]
    if days:
        yield from _table(found, days)
    if findings.total("later"):
        later = f"{findings.total('later'):,}"
        yield f"  later: {later} new or changed at the source after they were read; a sync brings them. No difference."
    if findings.nameless:
        yield f"  not compared, because they have no id: {count_of(findings.nameless, 'row')}"
    yield from _doubts(found.unproven, found.accepted)
    if found.lifted:
        listed = f"of the times that the export names under `unproven`, {found.lifted:,} were listed whole"
        command = advise("audit", destination, "--repair")
        what = "they are no longer in doubt" if found.repaired else f"{command} lifts their doubt"
        yield f"  {listed}; {what}"
    if found.changing_filters and findings.total("deleted"):
        filters = ", ".join(found.changing_filters)
        yield f"  deleted: or no longer matched by the filters of the export ({filters}), which the list cannot tell;"
        yield f"    {advise('sync', destination, '--refilter')} drops what they no longer match."
    if found.erased:
        what = count_of(found.erased, "conversation")
        was = "was" if found.erased == 1 else "were"
        yield f"  erased: {what} that the API lists, and that {was} erased here on request. No difference."
    if found.recordings_left:
        what = count_of(found.recordings_left, "recording")
        yield f"  left: {what} not asked for yet: {advise('recordings', destination)}"
    if found.state == "incomplete":
        command = advise("export", destination)
        yield f"  The export is incomplete, and what it has not read yet was not compared: run {command}"
    yield from _advise(found, destination)


def _verdict(found: "AuditResult") -> str:
    if found.differs:
        return "different"
    whole = "the same" if found.same else "nothing differs among what could be listed"
    has_differed = any(found.findings.total(kind) for kind in _DIFFERENCES)
    return f"was different, now {whole}" if found.repaired is not None and has_differed else whole


def _doubts(unproven: "Sequence[Doubt]", accepted: int) -> Iterator[str]:
    if not unproven:
        return
    times = count_of(len(unproven), "time")
    yield f"  {times} could not be listed whole, so rows may be missing here that nobody has seen:"
    for doubt in sorted(unproven, key=by_start)[:_SHOWN_TIMES]:
        yield f"    {describe_time(doubt.period)}: {doubt.reason}"
    if (more := len(unproven) - _SHOWN_TIMES) > 0:
        yield f"    and {more:,} more"
    if accepted == len(unproven):
        yield "    All of this is accepted, as exporter accept has recorded."
        return
    if accepted:
        yield f"    Accepted by exporter accept: {accepted:,} of these."
    yield "    Run the audit again, or with another --page-size. If a time stays in doubt, export it to another"
    yield "    directory with --since, --until and a filter that splits its rows, and compare the two."


def _bound(sample: "AuditSample") -> str:
    return (
        f"{sample.differing:,} of {sample.audited:,} windows differ: with {sample.confidence:.0%} confidence at most "
        f"{sample.at_most:,} of all {sample.windows:,} do ({sample.at_most / sample.windows:.1%})"
    )


def _table(found: "AuditResult", days: list[date]) -> Iterator[str]:
    """Returns a line for each day that differs, with the columns that have something in them."""
    findings = found.findings
    names = [name for name in _COLUMNS if findings.total(name)]
    widths = [max(len(name), len(f"{findings.total(name):,}")) for name in names]

    def line(head: str, cells: Iterable[str]) -> str:
        return "  ".join([f"  {head:10}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])

    if findings.zone != UTC_NAME:
        yield f"  by day in {findings.zone}:"
    yield line("day", names)
    for day in days[-_SHOWN_DAYS:]:
        yield line(day.isoformat(), (f"{findings.days[day][name]:,}" for name in names))
    if (more := len(days) - _SHOWN_DAYS) > 0:
        yield f"  and {count_of(more, 'older day')} that differ: --json has all"
    yield line("all days", (f"{findings.total(name):,}" for name in names))


def _repaired(found: "AuditResult", repaired: "RepairResult") -> str:
    """Says what a repair has changed. A row that has moved was inserted in one place and removed from another."""
    moved = min(found.findings.total("moved"), repaired.inserted, repaired.removed)
    counts = {
        "inserted": repaired.inserted - moved,
        "updated": repaired.updated,
        "moved": moved,
        "removed": repaired.removed - moved,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing"


def _advise(found: "AuditResult", destination: Location) -> Iterator[str]:
    findings, repaired = found.findings, found.repaired
    if repaired is None:
        command = advise("audit", destination, "--repair")
        if any(findings.total(kind) for kind in ("missing", "changed", "moved")):
            yield f"  {command} fetches what is missing, has changed or has moved."
        if findings.total("deleted"):
            yield f"  {command} --delete drops what the API answers 404 for."
        return
    yield f"  repaired: {_repaired(found, repaired)}"
    if repaired.unlisted:
        yield f"  kept, because the API has them by id, though it leaves them out of its list: {repaired.unlisted:,}"
    elif left := repaired.deleted:
        yield f"  kept, though the API does not list them: {left:,}; --delete drops what it answers 404 for."
    if repaired.new_doubts:
        command = advise("accept", destination, "--dry-run")
        yield f"  in doubt: {count_of(repaired.new_doubts, 'doubt')} not accepted; {command} lists what"


def audited_figures(found: "AuditResult") -> dict[str, Any]:
    """Returns an audit for programs, with times as in the manifest, and at most `comparison.MOST_IDS` ids of a kind."""
    findings, repaired, sample = found.findings, found.repaired, found.sample
    return {
        "same": found.same,
        "state": found.state,
        "generation": found.generation,
        **period_figures(found.audited),
        **{name: findings.total(name) for name in _COLUMNS},
        "nameless": findings.nameless,
        "unproven": len(found.unproven),
        "accepted": found.accepted,
        "lifted": found.lifted,
        "recordings_left": found.recordings_left,
        **({} if found.erased is None else {"erased": found.erased}),
        "timezone": findings.zone,
        "days": [
            {"day": day.isoformat(), **{name: counts[name] for name in _COLUMNS}}
            for day, counts in findings.days.items()
        ],
        "ids": dict(findings.ids),
        "changing_filters": list(found.changing_filters),
        "sample": msgspec.to_builtins(sample),
        "repaired": repaired and {name: getattr(repaired, name) for name in _REPAIRED},
        "requests": found.requests,
        "seconds": found.seconds,
    }
