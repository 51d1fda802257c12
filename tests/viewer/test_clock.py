"""The start of a recording is what its details say, or an estimate that what was said fits into."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.viewer.clock import clock_of

AT = 1_770_000_000.0


@pytest.mark.parametrize(
    "details",
    [
        {"started_at": AT + 4},
        {"started_at": 1000 * (AT + 4)},
        [{"recording_started_at": "2026-02-02T02:40:04Z"}],
        {"started_at": "soon", "start_time": "2026-02-02T03:40:04+01:00"},
    ],
)
def test_details_that_tell_a_start_are_believed(details: object) -> None:
    clock = clock_of(AT, json.dumps(details), 60, AT + 5, AT + 30)
    assert (clock.starts_at, clock.basis, clock.is_estimated, clock.note) == (AT + 4, "recording", False, "")


@pytest.mark.parametrize(
    "details",
    [None, "", "{", "[]", "1", '"x"', "[[]]", '{"started_at": null}', '{"started_at": true}', "[" * 100_000]
    + [json.dumps({"started_at": far}) for far in (0, 5, -AT, AT + 90_000, 1e300)],
)
def test_otherwise_it_begins_with_the_conversation_and_that_is_said_to_be_a_guess(details: str | None) -> None:
    clock = clock_of(AT, details, 60, AT + 5, AT + 30)
    assert (clock.starts_at, clock.basis, clock.is_estimated) == (AT, "conversation", True)
    assert "estimated" in clock.note


def test_a_recording_that_is_too_short_for_that_begins_later() -> None:
    assert clock_of(AT, None, 20, AT + 12, AT + 30).starts_at == AT + 10


def test_a_recording_begins_no_later_than_the_first_thing_that_was_said() -> None:
    assert clock_of(AT, None, 20, AT + 5, AT + 300).starts_at == AT + 5
    assert clock_of(AT, None, None, AT - 90, None).starts_at == AT - 90
    assert clock_of(AT, None, None, AT + 86_400, AT + 86_500).basis == "speech"
    assert clock_of(AT, None, None, None, None).starts_at == AT


times = st.none() | st.floats(AT - 1e6, AT + 1e6)


@given(st.none() | st.floats(0, 1e6), times, times)
def test_the_first_thing_that_was_said_is_in_the_recording(
    duration: float | None, first: float | None, last: float | None
) -> None:
    clock = clock_of(AT, None, duration, first, last)
    assert first is None or clock.starts_at <= first
