"""The report of recordings says what is not kept and why, and advises the command that tries what is left."""

from typing import Any

import pytest

from exporter.cli import command_line
from exporter.cli.recordings_report import describe_recordings
from exporter.jobs.recordings_result import RecordingsResult
from exporter.options.option import Group
from exporter.store.location import parse_location


def result(**known: Any) -> RecordingsResult:
    nothing = dict.fromkeys(("stored", "gone", "expired", "failed", "refused", "left", "files", "bytes"), 0)
    return RecordingsResult(**{**nothing, "recorded": None, **known})


def told(**known: Any) -> list[str]:
    return list(describe_recordings(result(**known), parse_location("calls")))


def others(**known: Any) -> str:
    (line,) = (line for line in told(**known) if line.startswith("  others"))
    return line.removeprefix("  others    ")


def test_the_reasons_of_a_run_are_counted() -> None:
    assert others(refused=212, new_reasons={"refused": {"address": 212}}) == (
        "212 refused (address); the table recordings says why"
    )
    reasons = {"failed": {"attempts": 6, "short": 2}, "gone": {"status 404": 1}}
    assert others(gone=1, failed=8, new_reasons=reasons) == (
        "1 gone from the source (status 404) · 8 failed (attempts: 6, short: 2); the table recordings says why"
    )
    many = {"failed": {"attempts": 6, "short": 2, "status 500": 1, "empty": 1}}
    assert others(failed=10, new_reasons=many).startswith("10 failed (attempts: 6, short: 2, status 500: 1, …);")
    assert others(refused=9, new_reasons={"refused": {"address": 2}}).startswith("9 refused (in this run address: 2);")
    assert others(refused=9).startswith("9 refused;")


def test_the_table_is_named_only_where_it_has_rows() -> None:
    assert others(left=5, waiting=2) == "5 left · 2 waited for"
    assert others(left=5, gone=1).endswith("; the table recordings says why")


@pytest.mark.parametrize("lacking", ["refused", "failed", "expired", "left"])
def test_nothing_is_well_while_something_is_missing(lacking: str) -> None:
    assert told(recorded=3, stored=3)[0] == "✔ kept  3 of 3 recordings"
    assert told(recorded=3, stored=2, gone=1)[0] == "✔ kept  2 of 3 recordings"
    assert told(recorded=3, stored=2, **{lacking: 1})[0] == "! kept  2 of 3 recordings"


TYPED = (
    ("retry", Group.DONE, ("--retry", "gone")),
    ("since", Group.RANGE, ("--since", "2026-01")),
    ("recording_filters", Group.RECORDINGS, ("--recording-filter", "channel=telephone")),
    ("recording_rate", Group.RECORDINGS, ("--recording-rate", "5MB")),
)


@pytest.mark.parametrize(
    ("failed", "kept"),
    [
        (2, "--since 2026-01 --recording-filter channel=telephone --recording-rate 5MB"),
        (3, "--recording-rate 5MB"),
    ],
    ids=["all were tried", "another was not"],
)
def test_the_advice_tries_what_is_left(failed: int, kept: str) -> None:
    with command_line.remembering():
        command_line._line.set(("recordings", tuple(command_line.Typed(*each) for each in TYPED)))
        lines = told(failed=failed, again=2, new_reasons={"failed": {"attempts": 2}})
    assert lines[-1] == f"    exporter recordings calls {kept}"
