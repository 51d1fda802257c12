"""Draws what the export is and whether it can be trusted: its range as a band, what is missing or in doubt, runs."""

from collections.abc import Iterator
from typing import Final

from exporter.report import texts
from exporter.report.blocks import Column, Table, draw_table, facts, fold, listed
from exporter.report.markup import Markup, element, joined
from exporter.report.model import Coverage, Report, Span, Trust

_KINDS: Final = ("covered", "expired", "unproven", "missing")
_WORDS: Final = {
    "covered": "read, and proven to be all",
    "expired": "deleted because of its age",
    "unproven": "read, and not proven to be all",
    "missing": "not read",
}


def draw_trust(report: Report) -> Markup:
    """Returns what stands below the heading of the section."""
    trust = report.trust
    return joined(
        _band(trust.coverage),
        listed(list(_doubts(trust))),
        _spans("Times that have not been read", trust.coverage.holes, trust.coverage.holes_count),
        _unproven(trust),
        facts(*_facts(report)),
        _runs(trust),
    )


def _band(coverage: Coverage) -> Markup:
    """Returns the range as a band. It is drawn here, because it needs no layout."""
    kinds = [kind for kind in _KINDS if any(band.kind == kind for band in coverage.bands)]
    pieces = [
        element(
            "rect", x=f"{1000 * band.at:.3f}", width=f"{1000 * band.share:.3f}", height=20, fill=f"var(--{band.kind})"
        )
        for band in coverage.bands
    ]
    read = "" if coverage.covered_share is None else f" {texts.share(coverage.covered_share)} of it has been read."
    holes = (
        f" {texts.counted(coverage.holes_count, 'interval')} {texts.were(coverage.holes_count)} not read."
        if coverage.holes_count
        else ""
    )
    first = "the first conversation" if coverage.is_open else texts.instant(coverage.start)
    finding = f"The range, from {first} to {texts.instant(coverage.end)}.{read}{holes}"
    start = "drawn from " if coverage.is_open else ""
    coarse = "Small pieces are drawn wider than they are." if coverage.is_coarse else None
    return element(
        "figure",
        element("figcaption", element("h3", "What of its range has been read"), element("p", finding)),
        element(
            "ul",
            *(element("li", element("span", class_=f"key b{_KINDS.index(kind)}"), _WORDS[kind]) for kind in kinds),
            class_="legend",
        ),
        element(
            "svg",
            *pieces,
            class_="band",
            viewBox="0 0 1000 20",
            preserveAspectRatio="none",
            role="img",
            aria_label=finding,
        ),
        element(
            "div",
            element("span", f"{start}{texts.instant(coverage.start)}"),
            element("span", texts.instant(coverage.end)),
            class_="ends",
        ),
        element("p", coarse, class_="unit") if coarse else None,
    )


def _doubts(trust: Trust) -> Iterator[str]:
    def counted(number: int, noun: str) -> str:
        return f"{texts.counted(number, noun)} {texts.were(number)}"

    if trust.unproven_count:
        spans = texts.counted(trust.unproven_count, "interval")
        yield f"{spans} may have more conversations than the source would show."
    if trust.quarantined_rows:
        kept = counted(trust.quarantined_rows, "row")
        yield f"{kept} put in quarantine, because of values that do not fit the columns. No count below has them."
    if trust.partly_withheld:
        spans = texts.counted(trust.partly_withheld, "interval")
        yield f"In {spans}, conversations lack sensitive fields that others have."
    if trust.withheld:
        yield f"The token may not see these fields, which no conversation has: {', '.join(trust.withheld)}."
    if trust.accepted_doubts:
        yield f"{counted(trust.accepted_doubts, 'doubt')} looked at, and accepted."
    if trust.unended_run is not None:
        began = texts.instant(trust.unended_run)
        yield f"A run that began on {began} has not said how it ended: it is at work, or was killed."
    if trust.later_commits:
        later = texts.counted(trust.later_commits, "commit")
        yield f"Left out: {later} that no manifest names yet: a run is at work or was killed; the next one names all."
    if trust.open_rows:
        yield f"{counted(trust.open_rows, 'conversation')} not over when last read; a sync reads them again."


def _span(span: Span) -> tuple[str, str, str]:
    start = "the first" if span.start is None else texts.instant(span.start)
    return start, texts.instant(span.end), texts.seconds(span.seconds)


def _spans(caption: str, spans: tuple[Span, ...], count: int) -> Markup | None:
    if not spans:
        return None
    shown = caption if count == len(spans) else f"{caption}: the first {len(spans):,} of {count:,}"
    return draw_table(
        Table(shown, (Column("from", False), Column("up to", False), Column("long")), [_span(one) for one in spans])
    )


def _unproven(trust: Trust) -> Markup | None:
    if not trust.unproven:
        return None
    count, shown = trust.unproven_count, len(trust.unproven)
    caption = "Times that are not proven" + ("" if count == shown else f": the first {shown:,} of {count:,}")
    columns = (Column("from", False), Column("up to", False), Column("long"), Column("rows read"), Column("why", False))
    rows = [[*_span(one.span), texts.number(one.rows), one.reason] for one in trust.unproven]
    return draw_table(Table(caption, columns, rows))


def _facts(report: Report) -> Iterator[tuple[str, str | None]]:
    trust = report.trust
    yield "Conversations", texts.number(trust.rows)
    yield "Items of transcripts (turns)", None if trust.turns is None else texts.number(trust.turns)
    yield "The first and the last conversation", _both(trust.oldest_row, trust.newest_row)
    yield (
        "Changes are known up to",
        texts.instant(trust.updates_since) if trust.updates_since else "not known",
    )
    yield "Last written", texts.instant(trust.committed_at)

    def told(values: tuple[str, ...] | None) -> str:
        return "(not shown)" if values is None else ", ".join(texts.isolated(value, "") for value in values)

    filters = [f"{one.name} = {told(one.values)}" for one in trust.filters]
    yield "Filters", "; ".join(filters) or "none: every conversation"
    yield "Fields", "all" if trust.fields is None else ", ".join(trust.fields)
    for check in trust.checks:
        label = f"Last {check.command}"
        if check.ended_at is None:
            yield label, "never"
        else:
            status = "well" if check.exit_status == 0 else f"with exit status {check.exit_status}"
            since = "" if check.is_latest else "; the export has changed since"
            yield label, f"{texts.instant(check.ended_at)}, ended {status}{since}"
    if (kept := trust.protection) is not None:
        rules = ", ".join(f"{column}: {rule}" for column, rule in kept.rules)
        yield "Policy for personal data", rules or None
        yield "Encrypted", None if kept.encryption_key is None else f"with the key {kept.encryption_key}"
        ages = ", ".join(f"{name} after {texts.seconds(age)}" for name, age in kept.retention_seconds)
        yield "Deleted because of age", ages or None
        yield "Erasures of people", texts.number(kept.erasures) if kept.erasures else None


def _both(first: str | None, last: str | None) -> str:
    return "none" if first is None else f"{texts.instant(first)} and {texts.instant(last)}"


def _runs(trust: Trust) -> Markup:
    if not trust.runs:
        return element("p", "No run is recorded.", class_="none")
    columns = (
        Column("began", False),
        Column("command", False),
        Column("took"),
        Column("new rows"),
        Column("requests"),
        Column("slowed down"),
        Column("tried again"),
        Column("ended", False),
    )
    rows = [
        [
            texts.instant(run.started_at),
            run.command,
            texts.seconds(run.seconds),
            texts.number(run.new_rows),
            texts.number(run.requests),
            texts.number(run.throttled),
            texts.number(run.retries),
            " · ".join(filter(None, [f"exit status {run.exit_status}", run.error, run.state])),
        ]
        for run in trust.runs
    ]
    caption = f"The last {len(rows):,} of {trust.runs_count:,} runs" if trust.runs_count > len(rows) else "All runs"
    return fold(caption, draw_table(Table(caption, columns, rows)))
