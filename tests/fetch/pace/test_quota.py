from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fetch.pace.quota import Quota, quota_of

NOW = 1_780_000_000.0


@pytest.mark.parametrize(
    ("headers", "remaining", "reset_seconds"),
    [
        ({"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, 0, 30),
        ({"RateLimit": "limit=100, remaining=7, reset=50"}, 7, 50),
        ({"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'}, 50, 30),
        ({"RateLimit": '"burst";r=0;t=3, "day";r=900;t=40000'}, 0, 3),
        ({"RateLimit": '"burst";r=0;t=3, "day";r=0;t=40000'}, 0, 40000),
        ({"RateLimit": '"bearer";pk=:c2VjcmV0:; t=9 ;r=1'}, 1, 9),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "12"}, 3, 12),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "12.5"}, 3, 12.5),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1780000040"}, 0, 40),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1780000040000"}, 0, 40),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1779999000"}, 0, 0),
        ({"X-RateLimit-Remaining": "1, 1000", "X-RateLimit-Reset": "1, 1419704"}, 1, 1),
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "1", "RateLimit": '"a";r=2;t=5'}, 2, 5),
    ],
)
def test_reads_three_generations_of_headers(headers: dict[str, str], remaining: int, reset_seconds: float) -> None:
    assert quota_of(headers, NOW) == Quota(remaining, reset_seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit-Remaining": "0"},
        {"RateLimit-Reset": "30"},
        {"RateLimit-Remaining": "-1", "RateLimit-Reset": "30"},
        {"RateLimit-Remaining": "none", "RateLimit-Reset": "soon"},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "Thu, 01 Jan 2026 00:00:00 GMT"},
        {"X-RateLimit-Remaining": "nan", "X-RateLimit-Reset": "inf"},
        {"X-RateLimit-Remaining": "1e9", "X-RateLimit-Reset": "1e9"},
        {"X-RateLimit-Remaining": "٣", "X-RateLimit-Reset": "٣"},
        {"RateLimit": '"default";r=-1;t=30'},
        {"RateLimit": '"default";r=1.5;t=30'},
        {"RateLimit": '"default";q=0;w=30'},
        {"RateLimit-Policy": '"default";q=0;w=0'},
    ],
)
def test_what_makes_no_sense_is_no_quota(headers: dict[str, str]) -> None:
    assert quota_of(headers, NOW) is None


pieces = st.lists(
    st.sampled_from(['"a"', ";", ",", "r=", "t=", "remaining=", "reset=", "0", "9" * 15, "-", "=", " ", "é"])
)


@given(st.dictionaries(st.sampled_from(["RateLimit", "RateLimit-Remaining", "RateLimit-Reset"]), pieces.map("".join)))
def test_no_header_is_an_error(headers: dict[str, str]) -> None:
    quota = quota_of(headers, NOW)
    assert quota is None or (quota.remaining >= 0 and quota.reset_seconds >= 0 and isfinite(quota.reset_seconds))
