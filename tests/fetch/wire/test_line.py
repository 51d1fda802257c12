"""A first contact leaves time for another attempt, and ends when it must."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fetch.wire.line import Limits, Silence


@pytest.mark.parametrize(
    ("seconds", "stalls"), [(5.0, [5.0]), (10.0, [10.0]), (60.0, [10.0, 20.0, 30.0]), (20.0, [10.0, 10.0])]
)
def test_a_stalled_first_attempt_leaves_time_for_others(seconds: float, stalls: list[float]) -> None:
    silence, now, seen = Silence(seconds), 100.0, list[float]()
    while now < 100.0 + seconds:
        seen.append(silence.limit(Limits(), now).stall_seconds)
        now += seen[-1]
    assert seen == stalls


@given(st.floats(1, 600), st.lists(st.floats(0, 30)))
def test_no_attempt_outlasts_the_silence(seconds: float, pauses: list[float]) -> None:
    silence, now = Silence(seconds), 0.0
    for pause in pauses:
        limits = silence.limit(Limits(), now)
        assert max(limits.stall_seconds, limits.connect_seconds) <= max(0.1, seconds - now)
        now += limits.stall_seconds + pause


def test_what_has_answered_has_all_the_time() -> None:
    silence = Silence(10.0)
    silence.limit(Limits(), 0.0)
    silence.lasts = False
    assert silence.limit(Limits(), 1.0) == Limits()
