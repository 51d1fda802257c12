"""A first contact is given up when it must be, and a server that has accepted it has its time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fetch.wire.line import Limits, Silence


@given(st.floats(1, 600), st.lists(st.floats(0, 30)))
def test_no_attempt_to_connect_outlasts_the_silence(seconds: float, pauses: list[float]) -> None:
    silence, now = Silence(seconds), 0.0
    for pause in pauses:
        limits = silence.limit(Limits(), now)
        assert limits.connect_seconds <= max(0.1, seconds - now)
        # What has accepted a connection may be slow.
        assert (limits.stall_seconds, limits.total_seconds) == (Limits().stall_seconds, Limits().total_seconds)
        now += limits.connect_seconds + pause


@pytest.mark.anyio
async def test_what_has_been_reached_has_all_the_time() -> None:
    silence = Silence(10.0)
    assert silence.limit(Limits(), 0.0) == Limits()
    assert silence.limit(Limits(), 9.0).connect_seconds == 1.0
    await silence.end()
    assert not silence.lasts
    assert silence.limit(Limits(), 9.0) == Limits()
