"""Reports the result of an audit: lines for people, figures for programs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.cli.report import describe_interval, interval_figures
from exporter.contract import DAY, format_instant
from exporter.model import Unproven
from exporter.plan.differences import KINDS
from exporter.plan.sample import CONFIDENCE, most_differing
from exporter.store.location import Location, shell_word
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.audit import AuditResult

_COLUMNS: Final = ("listed", "kept", *KINDS)
_SHOWN_DAYS: Final = 40
_SHOWN_TIMES: Final = 5


def describe_audited(found: "AuditResult", destination: Location) -> Iterator[str]:
    """Says how the dataset differs from the source, by day, and what to do about it."""
    findings = found.findings
    what = "part of it was drawn at random" if found.sampled else "all of it"
    start = "" if found.audited.open_below else f"from {format_instant(found.audited.start)} "
    whole = "the same" if found.is_same else "nothing differs among what could be listed"
    verdict = "different" if found.differs else whole
    listed = count_of(findings.total("listed"), "conversation")
    yield f"{verdict}: {listed} listed, {findings.total('kept'):,} in the export"
    yield f"  compared what was created {start}before {format_instant(found.audited.end)}: {what}"
    if found.sampled:
        yield f"  {_bound(found)}"
    days = [day for day in sorted(findings.days) if any(findings.days[day][kind] for kind in KINDS)]
    if days:
        yield from _table(found, days)
    if findings.total("later"):
        yield "  later: new or changed at the source after it was read; a sync brings it, and it is no difference."
    if findings.nameless:
        yield f"  not compared, because they have no id: {count_of(findings.nameless, 'row')}"
    yield from _doubts(found.unproven)
    if found.lifted:
        listed = f"of the times that the export names under `unproven`, {found.lifted:,} were listed whole"
        command = f"exporter audit {shell_word(destination)} --repair"
        what = "they are no longer in doubt" if found.repaired else f"{command} lifts their doubt"
        yield f"  {listed}; {what}"
    if found.changing_filters and findings.total("deleted"):
        filters = ", ".join(found.changing_filters)
        yield f"  deleted: or no longer matched by the filters of the export ({filters}), which the list cannot tell;"
        yield f"    exporter sync {shell_word(destination)} --refilter drops what they no longer match."
    if found.state == "incomplete":
        command = f"exporter export {shell_word(destination)}"
        yield f"  The export is incomplete, and what it has not read yet was not compared: run {command}"
    yield from _advise(found, destination)


def _doubts(unproven: Sequence[Unproven]) -> Iterator[str]:
    if not unproven:
        return
    times = count_of(len(unproven), "time")
    yield f"  {times} could not be listed whole, so rows may be missing here that nobody has seen:"
    for doubt in sorted(unproven, key=lambda doubt: doubt.interval)[:_SHOWN_TIMES]:
        yield f"    {_when(doubt)}: {doubt.reason}"
    if (more := len(unproven) - _SHOWN_TIMES) > 0:
        yield f"    and {more:,} more"
    yield "    Run the audit again, or with another --page-size. If a time stays in doubt, export it to another"
    yield "    directory with --since, --until and a filter that splits its rows, and compare the two."


def _when(doubt: Unproven) -> str:
    return format_instant(doubt.created_at) if doubt.since is None else describe_interval(doubt.interval)


def _bound(found: "AuditResult") -> str:
    looked_at, differing = found.windows_audited, len(found.findings.windows)
    most = most_differing(found.windows, looked_at, differing)
    return (
        f"{differing:,} of {looked_at:,} windows differ: with {CONFIDENCE:.0%} confidence at most {most:,} of all "
        f"{found.windows:,} do ({most / found.windows:.1%})"
    )


def _table(found: "AuditResult", days: list[int]) -> Iterator[str]:
    findings = found.findings
    yield "  ".join(["  day       ", *(f"{name:>10}" for name in _COLUMNS)])
    for day in days[-_SHOWN_DAYS:]:
        yield "  ".join(
            [f"  {format_instant(day * DAY)[:10]}", *(f"{findings.days[day][name]:>10,}" for name in _COLUMNS)]
        )
    if (more := len(days) - _SHOWN_DAYS) > 0:
        yield f"  and {count_of(more, 'older day')} that differ: --json has all"
    yield "  ".join(["  all days  ", *(f"{findings.total(name):>10,}" for name in _COLUMNS)])


def _advise(found: "AuditResult", destination: Location) -> Iterator[str]:
    findings, repaired = found.findings, found.repaired
    if repaired is None:
        command = f"exporter audit {shell_word(destination)} --repair"
        if any(findings.total(kind) for kind in ("missing", "changed", "moved")):
            yield f"  {command} fetches what is missing, has changed or has moved."
        if findings.total("deleted"):
            yield f"  {command} --delete drops what the API answers 404 for."
        return
    yield f"  repaired: {repaired.inserted:,} inserted, {repaired.updated:,} updated, {repaired.removed:,} removed"
    if repaired.unlisted:
        yield f"  kept, because the API has them by id, though it leaves them out of its list: {repaired.unlisted:,}"
    elif left := sum(map(len, findings.deleted.values())):
        yield f"  kept, though the API does not list them: {left:,}; --delete drops what it answers 404 for."


def audited_figures(found: "AuditResult") -> dict[str, Any]:
    """Returns an audit for programs, with times as in the manifest, and at most `comparison.MOST_IDS` ids of a kind."""
    findings, differing = found.findings, len(found.findings.windows)
    sample = {
        "windows": found.windows,
        "audited": found.windows_audited,
        "differing": differing,
        "confidence": CONFIDENCE,
        "at_most": most_differing(found.windows, found.windows_audited, differing),
    }
    return {
        "same": found.is_same,
        "state": found.state,
        "generation": found.generation,
        **interval_figures(found.audited),
        **{name: findings.total(name) for name in _COLUMNS},
        "nameless": findings.nameless,
        "unproven": len(found.unproven),
        "accepted": found.accepted,
        "lifted": found.lifted,
        "days": [
            {"day": format_instant(day * DAY)[:10], **{name: counts[name] for name in _COLUMNS}}
            for day, counts in sorted(findings.days.items())
        ],
        "ids": dict(findings.ids),
        "changing_filters": list(found.changing_filters),
        "sample": sample if found.sampled else None,
        "repaired": msgspec.to_builtins(found.repaired),
        "requests": found.requests,
        "seconds": found.seconds,
    }
