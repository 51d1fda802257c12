"""An audit tells people what it found, and what to do about it."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from exporter.cli.audit_report import describe_audited
from exporter.contract import BEGINNING, DAY, HOUR, format_instant
from exporter.jobs.audit import AuditResult, RepairResult
from exporter.model import Interval, Unproven
from exporter.pipeline.comparison import Differences

END = 20_000 * DAY
AUDITED = AuditResult(
    state="complete",
    generation=3,
    findings=Differences(),
    audited=Interval(BEGINNING, END),
    unproven=(),
    lifted=0,
    changing_filters=(),
    sampled=False,
    windows=1,
    windows_audited=1,
    requests=4,
    seconds=1.0,
)
DOUBT = Unproven(END - DAY, 3, "they share one updated_at")


def found(*unproven: Unproven, repaired: RepairResult | None = None, **differing: int) -> AuditResult:
    findings = Differences(days={END // DAY: Counter({"listed": 400, "kept": 400, **differing})})
    return msgspec.structs.replace(AUDITED, findings=findings, unproven=unproven, repaired=repaired)


def told(audited: AuditResult, destination: Path = Path("/srv/calls")) -> str:
    return "\n".join(describe_audited(audited, destination))


def test_the_same_is_called_so() -> None:
    assert told(found()).startswith("the same: 400 conversations listed, 400 in the export\n")
    assert "whole" not in told(found())


def test_local_days_are_called_so() -> None:
    audited = found(missing=1)
    audited.findings.zone = "Europe/Berlin"
    assert "\n  by day in Europe/Berlin:\n  day " in told(audited)
    assert "by day in" not in told(found(missing=1))


def test_what_differs_is_called_so_whether_or_not_the_list_is_in_doubt() -> None:
    assert told(found(missing=1)).startswith("different: 400 conversations listed, 400 in the export\n")
    assert told(found(DOUBT, missing=1)).startswith("different: 400 conversations listed, 400 in the export\n")


@pytest.mark.parametrize("repaired", [None, RepairResult(inserted=0, updated=0, removed=0, unlisted=None)])
def test_where_only_the_list_is_in_doubt_nothing_differs(repaired: RepairResult | None) -> None:
    audited = found(DOUBT, repaired=repaired)
    assert audited.exit_status == 3
    text = told(audited)
    assert text.startswith("nothing differs among what could be listed: 400 conversations listed, 400 in the export\n")
    assert "  1 time could not be listed whole, so rows may be missing here that nobody has seen:\n" in text
    assert f"    {format_instant(END - DAY)}: they share one updated_at\n" in text
    assert "Run the audit again, or with another --page-size" in text


def test_the_first_times_that_are_in_doubt_are_named_from_one_to_another() -> None:
    doubts = [Unproven(END - number * DAY - 1, 0, "cut", END - number * DAY - HOUR) for number in range(1, 8)]
    text = told(found(*doubts, Unproven(END - 9 * DAY - 1, 0, "null", BEGINNING)))
    assert "  8 times could not be listed whole" in text
    assert f"    from the beginning before {format_instant(END - 9 * DAY)}: null\n" in text
    assert f"    from {format_instant(END - 7 * DAY - HOUR)} before {format_instant(END - 7 * DAY)}: cut\n" in text
    assert "    and 3 more\n" in text
    assert text.count(": cut") == 4
