"""Tests that no host sees more than its ceiling, however late requests arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.ceiling import Ceiling, Sending

#: How long requests take to arrive, as a share of the window.
LATE = st.lists(st.floats(0, 1 / 30), min_size=60, max_size=60)


def sent_as_soon_as_allowed(max_rps: float, late: list[float], seconds: float) -> list[tuple[float, float]]:
    """Returns when requests are sent and arrive; each answer takes `seconds` from its arrival."""
    ceiling, now, window = Ceiling(), 0.0, max(1, int(max_rps)) / max_rps
    ceiling.max_rps = max_rps
    under_way: list[tuple[float, Sending]] = []
    found = []
    for share in late:
        while (wait := ceiling.delay_seconds(now)) > 0:
            landing = min((landed for landed, _ in under_way), default=now + wait)
            now = min(now + wait, max(landing, now))
            for landed, sending in [each for each in under_way if each[0] <= now]:
                sending.landed_at = landed
                under_way.remove((landed, sending))
        arrived = now + share * window
        under_way.append((arrived + seconds, ceiling.sent(now)))
        found.append((now, arrived))
    return found


@given(max_rps=st.sampled_from([0.5, 1.0, 2.5, 7.0, 20.0]), late=LATE, seconds=st.sampled_from([0.0, 0.02, 3.0]))
def test_no_window_holds_more_requests_than_the_ceiling(max_rps: float, late: list[float], seconds: float) -> None:
    most = max(1, int(max_rps))
    arrivals = sorted(arrived for _, arrived in sent_as_soon_as_allowed(max_rps, late, seconds))
    for first, following in zip(arrivals, arrivals[most:], strict=False):
        assert following - first >= most / max_rps - 1e-5


@given(late=LATE, seconds=st.sampled_from([0.0, 0.02, 3.0]))
def test_the_rate_is_within_a_twenty_fifth_of_the_ceiling(late: list[float], seconds: float) -> None:
    sent = [at for at, _ in sent_as_soon_as_allowed(20.0, late, seconds)]
    assert (len(sent) - 1) / (sent[-1] - sent[0]) >= 0.96 * 20


def test_without_a_ceiling_nothing_waits_and_one_that_comes_counts_what_was_sent() -> None:
    ceiling = Ceiling()
    for _ in range(5):
        assert ceiling.delay_seconds(1.0) == 0
        ceiling.sent(1.0)
    ceiling.max_rps = 2.0
    assert ceiling.delay_seconds(1.0) == pytest.approx(1 + 1 / 30)
