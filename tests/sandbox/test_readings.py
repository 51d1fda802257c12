import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR, MILLISECOND, MINUTE, SECOND, parse_timestamp
from exporter.sandbox.readings import TIMES, reads_of

INSTANTS = st.integers(0, 4_000_000_000 * SECOND)
UNITS = {"ms": MILLISECOND, "s": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}


@pytest.mark.parametrize(
    ("reading", "read"),
    [
        ("cut-ms", "2026-03-29T05:06:07.123Z"),
        ("half-up-ms", "2026-03-29T05:06:07.124Z"),
        ("up-ms", "2026-03-29T05:06:07.124Z"),
        ("half-up-s", "2026-03-29T05:06:07Z"),
        ("up-s", "2026-03-29T05:06:08Z"),
        ("cut-minute", "2026-03-29T05:06:00Z"),
        ("cut-day", "2026-03-29T00:00:00Z"),
        ("up-day", "2026-03-30T00:00:00Z"),
        ("+3h", "2026-03-29T08:06:07.123987Z"),
        ("-90m", "2026-03-29T03:36:07.123987Z"),
        ("as-Europe/Berlin", "2026-03-29T03:06:07.123987Z"),
        ("in-Europe/Berlin", "2026-03-29T07:06:07.123987Z"),
        ("as-America/New_York", "2026-03-29T09:06:07.123987Z"),
    ],
)
def test_a_reading(reading: str, read: str) -> None:
    assert reads_of([reading], "cursor")(parse_timestamp("2026-03-29T05:06:07.123987Z")) == parse_timestamp(read)


def test_where_the_clocks_change_one_reading_leaves_an_hour_out_and_the_other_has_one_twice() -> None:
    """In Berlin, it is 03:00 at 2026-03-29T01:00Z, and at 2026-10-25T01:00Z it is 02:00 for the second time."""
    in_berlin, as_berlin = (reads_of([f"{word}-Europe/Berlin"], "cursor") for word in ("in", "as"))
    spring, autumn = parse_timestamp("2026-03-29T01:00Z"), parse_timestamp("2026-10-25T01:00Z")
    assert in_berlin(spring) - in_berlin(spring - 1) == HOUR + 1
    assert as_berlin(spring + 2 * HOUR) - as_berlin(spring + 2 * HOUR - 1) == 1 - HOUR
    assert in_berlin(autumn) - in_berlin(autumn - 1) == 1 - HOUR
    assert as_berlin(autumn + 2 * HOUR) - as_berlin(autumn + 2 * HOUR - 1) == HOUR + 1


@given(INSTANTS, st.sampled_from(sorted(UNITS)))
def test_a_grid_is_kept_to(instant: int, unit: str) -> None:
    step = UNITS[unit]
    cut, near, up = (reads_of([f"{rounding}-{unit}"], "cursor")(instant) for rounding in ("cut", "half-up", "up"))
    assert cut % step == near % step == up % step == 0
    assert cut <= instant < cut + step
    assert up - step < instant <= up
    assert 2 * abs(near - instant) <= step


def test_readings_of_one_time_follow_one_another_and_leave_the_others_alone() -> None:
    readings = ["cursor:+1h", "created_before:cut-s", "cursor:cut-hour"]
    read = {name: reads_of(readings, name)(2 * HOUR - 1) for name in TIMES}
    assert read == {**dict.fromkeys(TIMES, 2 * HOUR - 1), "cursor": 2 * HOUR, "created_before": 2 * HOUR - SECOND}


@pytest.mark.parametrize("text", ["", "cut", "cut-h", "3h", "+3", "as-", "as-Nowhere/Land", "in-../etc", "limit:cut-s"])
def test_refuses_what_is_no_reading(text: str) -> None:
    with pytest.raises(ValueError, match=r"holds no time|no way to read|knows no time zone"):
        reads_of([text], "cursor")
