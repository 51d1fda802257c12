"""Tests what the page says first: whether anything is missing, how many calls there were yesterday, who is slowest."""

from typing import Any

import pytest
from msgspec.structs import replace

from exporter.report.answers import LEAST_LATENCIES, Answer, is_it_complete, slowest_version, yesterday
from exporter.report.model import Absent, Check, Day, Group, Report
from tests.report.sample import empty_report, full_report


def sound(**changes: Any) -> Report:
    """Returns a report of an export that is complete, verified, and not in doubt."""
    report = full_report()
    trust = replace(report.trust, state="complete", verdict="", checks=report.trust.checks[:1])
    return replace(report, trust=replace(trust, **changes))


def said(answer: Answer) -> str:
    """Returns all that is said, with plain spaces."""
    commands = [f"{purpose}: {command}" for purpose, command in answer.commands]
    return " ".join([answer.answer, *answer.lines, *commands]).replace("\N{NO-BREAK SPACE}", " ")


class TestIsItComplete:
    def test_a_complete_one(self) -> None:
        answer = is_it_complete(sound())
        assert answer.tone == "good"
        assert said(answer) == (
            "Complete: all 21,798 conversations from 1 Feb 2026, 00:00 to 14 Feb 2026, 18:00. "
            "Its files were verified on 14 Feb 2026, 03:00."
        )

    def test_one_conversation_and_none(self) -> None:
        assert said(is_it_complete(sound(rows=1))).startswith("Complete: the only conversation from 1 Feb")
        empty = is_it_complete(empty_report())
        assert empty.tone == "good"
        assert said(empty) == (
            "Complete, and empty: there is no conversation from 1 Feb 2026, 00:00 to 2 Feb 2026, 00:00. "
            "Its files have not been verified yet."
        )

    def test_a_range_without_a_beginning(self) -> None:
        assert "conversations from the first to 14 Feb" in said(is_it_complete(sound(range_start=None)))

    def test_a_check_of_an_older_generation(self) -> None:
        old = replace(full_report().trust.checks[0], is_latest=False)
        assert "03:00; since then, the export has changed." in said(is_it_complete(sound(checks=(old,))))

    def test_an_incomplete_one_says_how_to_go_on(self) -> None:
        answer = is_it_complete(full_report())
        assert answer.tone == "bad"
        assert said(answer) == (
            "Incomplete: 98 % of the time from 1 Feb 2026, 00:00 to 14 Feb 2026, 18:00 has been read. "
            "A part of the range is missing. To read what is missing: exporter export DEST"
        )

    def test_one_in_doubt_names_what_helps(self) -> None:
        answer = is_it_complete(sound(state="unproven", verdict="one timestamp is not proven"))
        assert answer.tone == "doubt"
        assert said(answer) == (
            "In doubt: 21,798 conversations from 1 Feb 2026, 00:00 to 14 Feb 2026, 18:00 were read, and not all is "
            "proven. One timestamp is not proven. To read what was withheld again: exporter reread DEST --withheld "
            "To read what is in doubt again: exporter reread DEST To see every doubt: exporter status DEST"
        )

    @pytest.mark.parametrize(("command", "what"), [("verify", "damage"), ("audit", "a difference")])
    def test_damage_comes_before_all_else(self, command: Any, what: str) -> None:
        found = Check(
            command=command, ended_at="2026-02-14T03:00:00+01:00", exit_status=6, generation=42, is_latest=True
        )
        for report in (sound(checks=(found,)), replace(full_report(), trust=sound(checks=(found,)).trust)):
            answer = is_it_complete(report)
            assert answer.tone == "bad"
            assert said(answer).startswith(f"The last {command} found {what}, on 14 Feb 2026, 03:00.")
        since = replace(found, is_latest=False)
        assert is_it_complete(sound(checks=(since,))).tone == "good"


class TestYesterday:
    def day(self, **changes: Any) -> Report:
        report = full_report()
        days = [replace(each, **changes) if each.day == "2026-02-13" else each for each in report.days]
        return replace(report, days=tuple(days))

    def test_it_is_the_day_before_the_end(self) -> None:
        day, answer = yesterday(full_report())
        assert (day, answer.tone) == ("2026-02-13", "good")
        assert said(answer) == (
            "1,436 conversations None is missing: all of the day has been read. "
            "It is the day before the report ends (14 Feb 2026, 18:30)."
        )

    def test_an_end_at_midnight(self) -> None:
        assert yesterday(replace(full_report(), until="2026-02-14T00:00:00+01:00"))[0] == "2026-02-13"

    @pytest.mark.parametrize(
        ("changes", "tone", "words"),
        [
            ({"conversations": 1}, "good", "1 conversation None"),
            ({"conversations": 0}, "good", "0 conversations None"),
            (
                {"state": "hole", "covered_share": 0.25},
                "bad",
                "At least 1,436 conversations Some may be missing: only 25 % of the day",
            ),
            ({"state": "hole", "covered_share": 0.0}, "bad", "Not read yet Nothing of this day has been read."),
            ({"state": "doubtful"}, "doubt", "the day is in doubt"),
            ({"state": "expired"}, "plain", "deleted, because of its age"),
            (
                {"state": "cut", "starts_at": "2026-02-13T05:00:00+01:00"},
                "plain",
                "at 13 Feb 2026, 05:00; from then on none",
            ),
        ],
    )
    def test_what_is_missing(self, changes: dict[str, Any], tone: str, words: str) -> None:
        _, answer = yesterday(self.day(**changes))
        assert answer.tone == tone
        assert words in said(answer)

    def test_a_day_before_the_range(self) -> None:
        only: Day = full_report().days[-1]
        _, answer = yesterday(replace(full_report(), days=(only,)))
        assert said(answer) == "Not in this export It lies before the range that the export covers."


class TestTheSlowestVersion:
    def of(self, *versions: Group) -> tuple[str | None, str]:
        found, answer = slowest_version(replace(full_report(), versions=versions))
        return None if found is None else found.name, said(answer)

    def version(self, name: str, latency: float | None, answers: int = 500, **changes: Any) -> Group:
        known: dict[str, Any] = {"latency_p50": latency, "latency_p95": None if latency is None else 2 * latency}
        return Group(name=name, conversations=9, share=0.1, latency_count=answers, **known, **changes)

    def test_it_has_the_longest_median(self) -> None:
        assert self.of(self.version("v1", 0.8), self.version("v2", 1.9), self.version("v3", 1.1)) == (
            "v2",
            "1.90 s Half of its 500 answers begin later than this, and 5 % later than 3.80 s. "
            "The fastest of 3 versions takes 0.80 s.",
        )

    def test_a_few_slow_answers_prove_nothing(self) -> None:
        name, text = self.of(self.version("v1", 0.8), self.version("v2", 9.9, LEAST_LATENCIES - 1))
        assert name == "v1"
        assert text.endswith("It is the only version that can be compared. 1 version has too few answers to compare.")

    def test_if_all_have_few_answers_these_are_compared(self) -> None:
        assert self.of(self.version("v1", 0.8, 2), self.version("v2", 0.9, 1))[0] == "v2"

    def test_others_are_no_version(self) -> None:
        name, text = self.of(self.version("v1", 0.8), self.version("rest", 3.0, is_rest=True))
        assert name == "v1"
        assert text.endswith("Only the 1 version with the most conversations were looked at.")

    def test_without_latencies_nobody_knows(self) -> None:
        assert self.of(self.version("v1", None, 0)) == (None, "Not known No message of an agent has a latency.")
        bare = replace(full_report(), versions=(self.version("v1", None, 0),), turns=Absent("this export has no turns"))
        assert said(slowest_version(bare)[1]) == "Not known This export has no turns."
        assert said(slowest_version(empty_report())[1]) == "Not known There is no conversation between these times."
