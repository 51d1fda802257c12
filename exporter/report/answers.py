"""Decides what the page says first: whether the export is complete, how many conversations the last whole day has and
whether any are missing, and which version of an agent is slowest. Plain sentences, from plain values."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.report import texts
from exporter.report.model import Absent, Day, Group, Report

Tone: TypeAlias = Literal["good", "doubt", "bad", "plain"]

#: A version with fewer latencies is compared only if none has as many.
LEAST_LATENCIES: Final = 20
#: The exit status of a check that has found damage or a difference.
DAMAGED: Final = 6


class Answer(NamedTuple):
    """Answers a question: in a few words, then in sentences, and with commands that help, each after what it is for."""

    tone: Tone
    answer: str
    lines: tuple[str, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()


def is_it_complete(report: Report) -> Answer:
    """Says whether all conversations of the export's range are there, how far that is proven, or what to do."""
    trust = report.trust
    start = "the first" if trust.range_start is None else texts.instant(trust.range_start)
    span = f"from {start} to {texts.instant(trust.range_end)}"
    held = texts.counted(trust.rows, "conversation")
    if damaged := _damaged(report):
        return Answer("bad", damaged, _why(report), (("To see what is damaged", "exporter verify DEST"),))
    if trust.state == "incomplete":
        read = trust.coverage.covered_share
        part = "" if read is None else f": {texts.share(read)} of the time {span} has been read"
        return Answer("bad", f"Incomplete{part}.", _why(report), (("To read what is missing", "exporter export DEST"),))
    if trust.verdict:
        lines = _why(report)
        return Answer("doubt", f"In doubt: {held} {span} were read, and not all is proven.", lines, _remedies(report))
    if not trust.rows:
        return Answer("good", f"Complete, and empty: there is no conversation {span}.", _checked(report))
    every = "the only conversation" if trust.rows == 1 else f"all {held}"
    return Answer("good", f"Complete: {every} {span}.", _checked(report))


def yesterday(report: Report) -> tuple[str, Answer]:
    """Returns the day before the one in which the report's range ends, and says how many conversations it has."""
    end = datetime.fromisoformat(report.until).date()
    before = (end - timedelta(days=1)).isoformat()
    found = next((each for each in report.days if each.day == before), None)
    if found is None:
        return before, Answer("plain", "Not in this export", ("It lies before the range that the export covers.",))
    if found.state == "hole" and not found.covered_share:
        return before, Answer("bad", "Not read yet", ("Nothing of this day has been read.",))
    tone, missing = _missing(found)
    held = texts.counted(found.conversations, "conversation")
    least = "At least " if found.state in ("hole", "doubtful") else ""
    why = f"It is the day before the report ends ({texts.instant(report.until)})."
    return before, Answer(tone, f"{least}{held}", (missing, why))


def slowest_version(report: Report) -> tuple[Group | None, Answer]:
    """Returns the version of an agent whose median latency is the longest, and says how slow it is."""
    if isinstance(report.versions, Absent):
        return None, Answer("plain", "Not known", (texts.sentence(report.versions.reason),))
    timed = [each for each in report.versions if each.latency_p50 is not None and not each.is_rest]
    enough = from_slowest(report.versions)
    if not enough:
        why = report.turns.reason if isinstance(report.turns, Absent) else "No message of an agent has a latency"
        return None, Answer("plain", "Not known", (texts.sentence(why),))
    slowest, *others = enough
    answers, late = texts.counted(slowest.latency_count or 0, "answer"), texts.seconds(slowest.latency_p95)
    lines = [f"Half of its {answers} begin later than this, and 5 % later than {late}."]
    if others:
        fastest = texts.seconds(others[-1].latency_p50)
        lines.append(f"The fastest of {texts.counted(len(enough), 'version')} takes {fastest}.")
    else:
        lines.append("It is the only version that can be compared.")
    if left := len(timed) - len(enough):
        have = "has" if left == 1 else "have"
        lines.append(f"{texts.counted(left, 'version')} {have} too few answers to compare.")
    if any(each.is_rest for each in report.versions):
        shown = texts.counted(len(report.versions) - 1, "version")
        lines.append(f"Only the {shown} with the most conversations were looked at.")
    return slowest, Answer("plain", f"{texts.seconds(slowest.latency_p50)}", tuple(lines))


def from_slowest(versions: Sequence[Group]) -> list[Group]:
    """Returns the versions that can be compared by latency, the slowest first."""
    timed = [each for each in versions if each.latency_p50 is not None and not each.is_rest]
    enough = [each for each in timed if (each.latency_count or 0) >= LEAST_LATENCIES] or timed
    return sorted(enough, key=lambda each: (each.latency_p50 or 0, each.latency_p95 or 0), reverse=True)


def _missing(found: Day) -> tuple[Tone, str]:
    if found.state == "whole":
        return "good", "None is missing: all of the day has been read."
    if found.state == "hole":
        return "bad", f"Some may be missing: only {texts.share(found.covered_share)} of the day has been read."
    if found.state == "doubtful":
        return "doubt", "Some may be missing or incomplete: the day is in doubt."
    if found.state == "expired":
        return "plain", "What was older has been deleted, because of its age."
    if found.starts_at is not None:
        return (
            "plain",
            f"The range begins on this day, at {texts.instant(found.starts_at)}; from then on none is missing.",
        )
    return "plain", "The range has only a part of this day; of that, none is missing."


def _damaged(report: Report) -> str | None:
    """Says which check has found damage or a difference, unless the export has changed since."""
    for check in report.trust.checks:
        if check.is_latest and check.exit_status == DAMAGED:
            what = "damage" if check.command == "verify" else "a difference"
            return f"The last {check.command} found {what}, on {texts.instant(check.ended_at)}."
    return None


def _why(report: Report) -> tuple[str, ...]:
    return (texts.sentence(report.trust.verdict),) if report.trust.verdict else ()


def _remedies(report: Report) -> tuple[tuple[str, str], ...]:
    trust = report.trust
    commands = []
    if trust.partly_withheld:
        commands.append(("To read what was withheld again", "exporter reread DEST --withheld"))
    if trust.unproven_count:
        commands.append(("To read what is in doubt again", "exporter reread DEST"))
    return (*commands, ("To see every doubt", "exporter status DEST"))


def _checked(report: Report) -> tuple[str, ...]:
    """Says when the files were verified; a check that looked at an older generation says less."""
    verify = next((check for check in report.trust.checks if check.command == "verify" and check.ended_at), None)
    if verify is None:
        return ("Its files have not been verified yet.",)
    since = "" if verify.is_latest else "; since then, the export has changed"
    return (f"Its files were verified on {texts.instant(verify.ended_at)}{since}.",)
