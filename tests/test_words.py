import shlex
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.words import (
    describe_times,
    did_you_mean,
    format_size,
    install_command,
    nearest,
    percent_of,
    told_apart,
)


def test_a_package_is_installed_where_the_exporter_runs() -> None:
    command = shlex.split(install_command("pyiceberg[sql-sqlite]"))
    assert command == [sys.executable, "-m", "pip", "install", "pyiceberg[sql-sqlite]"]


def test_the_nearest_known_name_ignores_case_and_dashes() -> None:
    known = ("agent_id", "status", "duration", "web_widget_id")
    assert nearest("agnt_id", known) == "agent_id"
    assert nearest("Agent-ID", known) == "agent_id"
    assert nearest("durration", known) == "duration"
    assert nearest("page", known) is None
    assert nearest("fsh", ("bash", "zsh", "fish")) == "fish"
    assert did_you_mean("stauts", known) == " Did you mean status?"
    assert did_you_mean("x", known) == ""
    assert did_you_mean("agent", known) == " Did you mean agent_id?"
    assert did_you_mean("ag", known) == ""


def test_a_slip_is_one_letter_or_two_neighbours() -> None:
    for typed in ("abcdef", "abdef", "abxdef", "abccdef", "bacdef", "abcdfe"):
        assert nearest(typed, ("abcdef",), letters_per_edit=6) == "abcdef"
    for typed in ("abcd", "abxyef", "badcef", "bcadef", "abcdefgh"):
        assert nearest(typed, ("abcdef",), letters_per_edit=6) is None


def test_sizes_that_differ_never_look_alike() -> None:
    assert told_apart(format_size, 64_000_000, 64_000_000) == ["64.0 MB", "64.0 MB"]
    assert told_apart(format_size, 12_345_678, 64_000_000) == ["12.3 MB", "64.0 MB"]
    assert told_apart(format_size, 63_990_000, 64_000_000) == ["63.99 MB", "64.00 MB"]
    assert told_apart(format_size, 63_999_999, 64_000_000) == ["63.999999 MB", "64.000000 MB"]
    assert told_apart(format_size, 999_999_999, 1_000_000_000) == ["999.999999 MB", "1.000000 GB"]


@given(st.integers(0, 10**15), st.integers(-5, 5))
def test_a_byte_more_is_seen_in_any_size(size_bytes: int, more: int) -> None:
    one, other = told_apart(format_size, size_bytes, max(0, size_bytes + more))
    assert (one == other) == (size_bytes == max(0, size_bytes + more))


def test_only_a_whole_is_a_hundred_percent() -> None:
    assert [percent_of(share) for share in (0.0, 0.337, 1 - 1e-12, 1.0)] == ["0 %", "33 %", "99 %", "100 %"]


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
