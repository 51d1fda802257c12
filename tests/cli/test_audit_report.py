"""An audit tells people what it found, and what to do about it."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from exporter.cli.audit_report import describe_audited
from exporter.contract import BEGINNING, DAY, HOUR, format_instant, to_datetime
from exporter.coverage import Interval
from exporter.jobs.audit_result import AuditResult, Findings, RepairResult
from exporter.jobs.doubts import unproven_of
from exporter.model import Unproven
from exporter.schedule.differences import KINDS

END = 20_000 * DAY
LAST = to_datetime(END).date()
AUDITED = AuditResult(
    state="complete",
    generation=3,
    findings=Findings(zone="UTC", days={}, ids={}, differing_windows=0, nameless=0),
    audited=Interval(BEGINNING, END).period,
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
    audited = by_day({LAST: Counter({"listed": 400, "kept": 400, **differing})})
    return msgspec.structs.replace(audited, unproven=unproven_of(unproven), repaired=repaired)


def by_day(days: dict[date, Counter[str]], zone: str = "UTC") -> AuditResult:
    findings = msgspec.structs.replace(AUDITED.findings, days=days, zone=zone)
    return msgspec.structs.replace(AUDITED, findings=findings)


def told(audited: AuditResult, destination: Path = Path("/srv/calls")) -> str:
    return "\n".join(describe_audited(audited, destination))


def test_the_same_is_called_so() -> None:
    assert told(found()).startswith("the same: 400 conversations listed, 400 in the export\n")
    assert "whole" not in told(found())


def test_local_days_are_called_so() -> None:
    audited = by_day({LAST: Counter({"missing": 1})}, "Europe/Berlin")
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
    assert text.startswith("nothing differs among what could be listed: 400 conversations listed, 400 in the export")
    assert "  1 time could not be listed whole, so rows may be missing here that nobody has seen:\n" in text
    assert f"    {format_instant(END - DAY)}: they share one updated_at\n" in text
    assert "Run the audit again, or with another --page-size" in text


def test_the_first_times_that_are_in_doubt_are_named_from_one_to_another() -> None:
    doubts = [Unproven(END - number * DAY - 1, 0, "cut", END - number * DAY - HOUR) for number in range(1, 8)]
    text = told(found(*doubts, Unproven(END - 9 * DAY - 1, 0, "null", BEGINNING)))
    assert "  8 times could not be listed whole" in text
    assert f"    from the beginning up to {format_instant(END - 9 * DAY)}: null\n" in text
    assert f"    from {format_instant(END - 7 * DAY - HOUR)} up to {format_instant(END - 7 * DAY)}: cut\n" in text
    assert "    and 3 more\n" in text
    assert text.count(": cut") == 4


def table_of(text: str) -> list[list[str]]:
    lines = text.splitlines()
    return [line.split() for line in lines if line.startswith(("  day ", "  20", "  all days "))]


def test_only_days_and_columns_with_something_in_them_are_shown_and_fit_80_columns() -> None:
    days = {
        LAST - timedelta(days=2): Counter({"listed": 10, "kept": 10}),
        LAST - timedelta(days=1): Counter({"listed": 20, "kept": 20, "later": 2}),
        LAST: Counter({"listed": 30, "kept": 31, "deleted": 1}),
    }
    text = told(by_day(days))
    day = format_instant(END)[:10]
    assert table_of(text) == [
        ["day", "listed", "kept", "deleted", "later"],
        [day, "30", "31", "1", "0"],
        ["all", "days", "60", "61", "1", "2"],
    ]
    many = Counter({"listed": 1_000_000, "kept": 1_000_000}) + Counter(dict.fromkeys(KINDS, 100000))
    text = told(by_day({LAST: many}), Path("c"))
    assert max(map(len, text.splitlines()[2:5])) <= 80


def test_what_a_repair_has_moved_is_neither_inserted_nor_removed() -> None:
    repaired = RepairResult(inserted=9, updated=720, removed=8, unlisted=None)
    text = told(found(repaired=repaired, moved=8, changed=720, missing=1))
    assert text.startswith(
        "was different, now the same: 400 conversations listed, 400 in the export before the repair\n"
    )
    assert "  repaired: 1 inserted, 720 updated, 8 moved" in text.splitlines()
    nothing = RepairResult(inserted=0, updated=0, removed=0, unlisted=None)
    assert told(found(repaired=nothing)).startswith("the same: 400")
    assert "  repaired: nothing" in told(found(repaired=nothing)).splitlines()
