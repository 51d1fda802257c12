"""A comparison of totals tells people what both sides have, which days differ, and why."""

import json
from datetime import date
from pathlib import Path

import pytest

from exporter.cli.reconcile_report import describe_reconciled, reconciled_figures
from exporter.contract import parse_timestamp
from exporter.coverage import Interval
from exporter.jobs.reconcile_days import ComparedDay, Pair
from exporter.jobs.reconcile_result import CountedAs, ReconcileResult

COUNTED = CountedAs(zone="UTC", moment=None, token_created=False, email=None, minutes="rounded up")
SPAN = Interval(parse_timestamp("2026-02-01"), parse_timestamp("2026-04-01")).period


def day(number: int, there: float | None, here: float, *reasons: str) -> ComparedDay:
    differing = () if there == here else ("total",)
    day_ = date.fromordinal(date(2026, 2, 1).toordinal() + number)
    return ComparedDay(day=day_, figures={"total": Pair(there, here)}, differing=differing, reasons=reasons)  # type: ignore[arg-type]


def found(*days: ComparedDay, limits: tuple[str, ...] = (), comparable: bool = True) -> ReconcileResult:
    return ReconcileResult(
        state="complete",
        generation=3,
        start=SPAN.start,
        end=SPAN.end,
        counted_as=COUNTED,
        days=days,
        limits=limits,
        comparable=comparable,
        requests=1,
        seconds=0.5,
    )


def told(result: ReconcileResult, *, all_days: bool = False) -> str:
    return "\n".join(describe_reconciled(result, Path("/srv/calls"), all_days=all_days))


def test_days_that_agree_are_shown_on_request_alone() -> None:
    same = found(day(0, 1200, 1200), day(1, 7, 7))
    assert told(same) == (
        "agrees: the platform's totals are what is here, on 2 days\n"
        "  compared from 2026-02-01 up to 2026-04-01 UTC: 2 days\n"
        "  the platform counts days of UTC, without token_created, each call's minutes rounded up\n"
        "                    platform   here  differ by\n"
        "  conversations        1,207  1,207          0"
    )
    assert told(same, all_days=True).endswith(
        "  day         platform   here  differ by  what, and why\n"
        "  2026-02-01     1,200  1,200          0\n"
        "  2026-02-02         7      7          0"
    )


def test_a_reason_is_given_for_each_day_that_differs() -> None:
    text = told(found(day(0, 5, 5), day(1, 9, 7, "late"), limits=("a limit",)))
    assert text.startswith("agrees, except for what is explained: 1 of 2 days differ, for reasons that are known\n")
    assert "\n  a limit\n" in text
    late = "conversations: read less than a day after it ended, so some came later"
    assert text.endswith(f"  2026-02-02         9     7         -2  {late}")


def test_a_part_that_filters_leave_neither_agrees_nor_is_explained() -> None:
    for days in ([day(0, 5, 5)], [day(0, 5, 4, "filtered")]):
        part = found(*days, comparable=False)
        assert told(part).startswith(
            "not comparable: the export has only what its filters leave, and not too much of that"
        )
        figures = reconciled_figures(part)
        assert [figures[name] for name in ("agrees", "explained", "comparable")] == [False, False, False]
    assert told(found(day(0, 4, 5), comparable=False)).startswith("differs: on 1 of 1 day, and")


def test_what_is_not_explained_comes_with_what_to_do() -> None:
    text = told(found(day(0, 5, 4), day(1, None, 3)))
    assert text.startswith("differs: on 2 of 2 days, and nothing that the export knows explains that\n")
    assert "  2026-02-01         5     4         -1  conversations: NOT EXPLAINED\n" in text
    assert "  2026-02-02         -     3             conversations: the platform does not list the day\n" in text
    assert "  exporter audit /srv/calls compares every id" in text
    moved = told(found(day(0, 5, 4), day(1, 4, 5)))
    assert moved.endswith("its days may be those of another time zone. Name it: --days-in ZONE")


def test_of_many_days_the_latest_are_shown() -> None:
    many = found(*(day(number, 2, 1) for number in range(45)))
    assert told(many).count("NOT EXPLAINED") == 40
    assert "  and 5 older days that differ: --all-days shows them\n" in told(many)
    assert told(many, all_days=True).count("NOT EXPLAINED") == 45


@pytest.mark.parametrize("reasons", [(), ("filtered",)])
def test_programs_get_all_days(reasons: tuple[str, ...]) -> None:
    result = reconciled_figures(found(day(0, 5, 5), day(1, 9, 7, *reasons)))
    figures = json.loads(json.dumps(result))
    assert figures["unexplained"] == ([] if reasons else ["2026-02-02"])
    assert (figures["agrees"], figures["explained"]) == (False, bool(reasons))
    assert figures["totals"] == {"total": {"there": 14, "here": 12}}
    assert figures["days"][1] == {
        "day": "2026-02-02",
        "figures": {"total": {"there": 9, "here": 7}},
        "differing": ["total"],
        "reasons": list(reasons),
    }
