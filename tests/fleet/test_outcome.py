"""Tests how ends of processes are read, and which of several weighs most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.child_output import Lines, Remarks, is_summary, object_in
from exporter.fleet.outcome import FROM_GOOD_TO_BAD, Outcome, signal_name, worst_status

SUMMARY = {"state": "complete", "rows": 3}


@pytest.mark.parametrize(
    ("code", "summary", "reason", "stops", "ending", "status"),
    [
        (0, SUMMARY, None, False, "complete", 0),
        (3, SUMMARY, None, False, "in doubt", 3),
        (1, None, "the API failed", False, "failed", 1),
        (5, None, "locked", False, "locked", 5),
        (4, None, "401", False, "refused", 4),
        (2, None, "wrong", False, "misconfigured", 2),
        (6, None, "damaged", False, "damaged", 6),
        (130, None, None, True, "interrupted", 130),
        # Whoever stopped it, the others are not interrupted.
        (130, None, "stopped: 3 conversations are kept", False, "killed", 1),
        (-9, None, None, False, "killed", 1),
        # Killed because this program was told to stop, it was interrupted like the others.
        (-9, None, None, True, "interrupted", 130),
        # A process that says nothing of what it has done has not done it.
        (0, None, None, False, "failed", 1),
        (77, None, None, False, "failed", 77),
    ],
)
def test_the_end_of_a_process_has_a_name(
    code: int, summary: dict[str, object] | None, reason: str | None, stops: bool, ending: str, status: int
) -> None:
    outcome = Outcome.of("acme", code, 1.0, summary, reason, stops=stops)
    assert (outcome.ending, outcome.exit_status) == (ending, status)
    assert outcome.summary is not None or outcome.reason


def test_a_killed_process_names_its_signal() -> None:
    assert "SIGSEGV" in str(Outcome.of("acme", -11, 1.0, None, None, stops=False).reason)
    assert signal_name(34_000) == "signal 34000"


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [([], 0), ([0, 3, 0], 3), ([3, 5], 5), ([5, 1], 1), ([1, 2, 4], 4), ([4, 6, 1], 6), ([6, 130], 130), ([77, 5], 1)],
)
def test_the_worst_status_counts(statuses: list[int], worst: int) -> None:
    assert worst_status(statuses) == worst_status(reversed(statuses)) == worst


@given(st.lists(st.sampled_from(FROM_GOOD_TO_BAD), min_size=1))
def test_all_is_well_only_if_each_is(statuses: list[int]) -> None:
    assert (worst_status(statuses) == 0) == (set(statuses) == {0})


@given(st.binary(), st.integers(1, 9))
def test_lines_are_whole_wherever_bytes_are_cut(sent: bytes, size: int) -> None:
    lines = Lines()
    found = [line for at in range(0, len(sent), size) for line in lines.take(sent[at : at + size])]
    found += lines.close()
    assert found == (sent.split(b"\n") if not sent.endswith(b"\n") else sent[:-1].split(b"\n") if sent else []) or (
        not sent and not found
    )


def test_no_line_and_no_number_of_lines_takes_the_memory() -> None:
    lines, remarks = Lines(10), Remarks()
    for _ in range(100):
        assert not list(lines.take(b"x" * 1000))
    assert list(lines.take(b"\ny\n")) == [b"x" * 10, b"y"]
    for number in range(1000):
        remarks.add(b"\x1b[2J%d " % number + b"y" * 100_000)
    kept = remarks.beside(None, "failed")
    assert kept[0] == "(990 lines before)"
    assert len(kept) == 11
    assert all(len(line) <= 300 and line.isprintable() for line in kept)


def test_what_the_reason_says_is_not_said_again() -> None:
    remarks = Remarks()
    for line in (b"2026-02-10T00:00:00Z exporter: the disk is full", b"2026-02-10T00:00:00Z Free some", b"Killed"):
        remarks.add(line)
    assert remarks.beside("the disk is full\nFree some", "failed") == ["Killed"]
    assert len(remarks.beside(None, "failed")) == 3


def test_a_summary_has_what_a_summary_has() -> None:
    counts = dict.fromkeys(("generation", "rows", "new_rows", "files", "bytes", "requests"), 1)
    whole = {**counts, "state": "complete", "manifest": "manifest.json"}
    assert is_summary(whole)
    for key in whole:
        assert not is_summary({each: whole[each] for each in whole if each != key})
    for wrong in ({"rows": "many"}, {"requests": None}, {"new_rows": True}, {"state": 3}):
        assert not is_summary({**whole, **wrong})


def test_only_objects_are_objects() -> None:
    assert object_in(b'{"a": 1}') == {"a": 1}
    for line in (b"", b"[1]", b"Traceback", b"\xff", b"[" * 100_000):
        assert object_in(line) is None


def test_a_child_that_is_interrupted_says_so_once() -> None:
    remarks = Remarks()
    for line in (b"interrupted", b"interrupted by a library"):
        remarks.add(line)
    assert remarks.beside(None, "interrupted") == ["interrupted by a library"]
    assert remarks.beside(None, "failed") == ["interrupted", "interrupted by a library"]
