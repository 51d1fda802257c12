import shlex
import sys

import pytest

from exporter.words import describe_times, did_you_mean, install_command, nearest


def test_a_package_is_installed_where_the_exporter_runs() -> None:
    command = shlex.split(install_command("pyiceberg[sql-sqlite]"))
    assert command == [sys.executable, "-m", "pip", "install", "pyiceberg[sql-sqlite]"]


def test_the_nearest_known_name_ignores_case_and_dashes() -> None:
    known = ("agent_id", "status", "duration", "web_widget_id")
    assert nearest("agnt_id", known) == "agent_id"
    assert nearest("Agent-ID", known) == "agent_id"
    assert nearest("durration", known) == "duration"
    assert nearest("page", known) is None
    assert did_you_mean("stauts", known) == " Did you mean status?"
    assert did_you_mean("x", known) == ""


def test_two_letters_that_are_swapped_are_a_slip_of_any_word() -> None:
    assert [nearest(slip, ("day", "hour", "bar", "sql")) for slip in ("dya", "yad", "abr", "sqll")] == [
        "day",
        None,
        "bar",
        "sql",
    ]


@pytest.mark.parametrize(
    ("number", "spans", "rows", "words"),
    [
        (1, (), 0, "1 timestamp"),
        (2, (), 23, "2 timestamps (23 rows read)"),
        (2, (2460.0, 3660.0), 675, "2 intervals (41 min 00 s and 1 h 01 min, 675 rows read)"),
        (3, (0.5,), 1, "2 timestamps and 1 interval (less than 1 s, 1 row read)"),
        (4, (1.0, 9.0, 2.0, 3.0), 0, "4 intervals (the longest 9 s)"),
        (4, (1.0, None, 2.0, 3.0), 0, "4 intervals (the longest open below)"),
    ],
)
def test_times_have_their_sizes(number: int, spans: tuple[float | None, ...], rows: int, words: str) -> None:
    assert describe_times(number, spans, rows) == words
