import json
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.contract import LINK_ENDS
from exporter.fetch.media.link import Link, link_of

URL = "https://rec.example.com/a.mp3"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())


def end_of(query: str, **details: Any) -> datetime | None:
    link = link_of({"recording_url": f"{URL}{query}"} | details)
    assert link is not None
    return link.ends_at


@pytest.mark.parametrize(
    "query",
    [
        "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260131T110000Z&X-Amz-Expires=3600&X-Amz-Signature=ab",
        "?X-Goog-Date=20260131T115500Z&X-Goog-Expires=300&X-Goog-Signature=ab",
        f"?AWSAccessKeyId=AK&Expires={SECONDS}&Signature=a%2Fb",
        f"?expires={SECONDS}000",
        "?expires=2026-01-31T12:00:00Z",
        "?sv=2022-11-02&st=2026-01-31T11:00:00Z&se=2026-01-31T12%3A00%3A00Z&sig=a%2B",
        "?se=2026-01-31T14:00:00+02:00",
        "?se=2026-01-31T12%3A00%3A00.0000000Z#t=3",
        # The earlier of two counts.
        f"?Expires={SECONDS + 60}&se=2026-01-31T12:00:00Z",
    ],
)
def test_reads_the_end_that_each_signer_names(query: str) -> None:
    assert end_of(query) == NOON


@pytest.mark.parametrize(
    "value", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00", SECONDS, float(SECONDS), SECONDS * 1000]
)
def test_reads_the_end_that_the_details_name(value: object) -> None:
    for name in LINK_ENDS:
        assert end_of("", **{name: value}) == NOON
    assert end_of(f"?Expires={SECONDS - 60}", expires_at=value) == NOON - timedelta(minutes=1)


@pytest.mark.parametrize(
    "query",
    [
        *[
            "",
            "?",
            "?Expires",
            "?Expires=",
            "?Expires=soon",
            "?Expires=-1",
            "?Expires=1e9",
            "?Expires=٣",
            "?Expires=nan",
        ],
        *["?X-Amz-Expires=3600", "?X-Amz-Date=20260131T110000Z", "?X-Amz-Date=20261331T110000Z&X-Amz-Expires=1"],
        *["?X-Amz-Date=20260131T110000Z&X-Amz-Expires=" + "9" * 15, "?X-Amz-Date=99991231T235959Z&X-Amz-Expires=9"],
        *["?Expires=" + "9" * 15, "?Expires=" + "9" * 5000, "?se=2026-99-31", "?se=%ff%fe", "#?Expires=1769860800"],
        "?" + "a&" * 5000 + f"Expires={SECONDS}",
    ],
)
def test_an_end_that_cannot_be_read_is_not_known(query: str) -> None:
    assert end_of(query) is None


@pytest.mark.parametrize(
    "details",
    [
        *[
            None,
            True,
            7,
            1.5,
            "",
            URL,
            [],
            [URL],
            [[{"recording_url": URL}]],
            {},
            {"url": URL},
            {"recording_url": None},
            {"recording_url": ""},
        ],
        *[{"recording_url": 7}, {"recording_url": [URL]}, {"recording_url": {"url": URL}}, {"Recording_Url": URL}],
    ],
)
def test_details_of_another_shape_hold_no_link(details: object) -> None:
    assert link_of(details) is None


def test_details_may_come_in_a_list() -> None:
    found = link_of([None, {"recording_url": ""}, {"recording_url": URL, "duration": 3}, {"recording_url": "another"}])
    assert found is not None
    assert (found.url, found.duration) == (URL, 3)


@pytest.mark.parametrize(
    ("served", "duration"),
    [
        *[("12.5", 12.5), ("0", 0.0), ("3600", 3600.0), ("-1", None), ("NaN", None), ("Infinity", None)],
        *[
            ("1e999", None),
            ("true", None),
            ('"12"', None),
            ("null", None),
            ("[1]", None),
            ("{}", None),
            ("9" * 400, None),
        ],
    ],
)
def test_a_duration_is_a_finite_number_of_seconds(served: str, duration: float | None) -> None:
    link = link_of(json.loads(f'{{"recording_url": "{URL}", "duration": {served}}}'))
    assert link is not None
    assert link.duration == duration


def test_a_link_is_fresh_while_it_lives_for_the_margin() -> None:
    assert Link(URL).is_fresh(NOON)
    link = Link(URL, NOON)
    assert link.is_fresh(NOON - timedelta(seconds=30))
    assert not link.is_fresh(NOON - timedelta(seconds=29.9))
    assert link.is_fresh(NOON - timedelta(seconds=29.9), margin_seconds=10)
    assert not link.is_fresh(NOON + timedelta(days=1), margin_seconds=0)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (f"{URL}?sig=1", "/a.mp3"),
        ("https://Rec.Example.com:443/A/b@c.mp3#t", "/A/b@c.mp3"),
        ("http://user:secret@127.0.0.1:8080/a//b://c?sig=1", "/a//b://c"),
        ("https://rec.example.com?sig=1/2://3", "/"),
        ("https://[bad/a?sig=1", "/a"),
        ("no link?sig=1", "no link"),
    ],
)
def test_the_path_stays_the_same_when_a_link_is_signed_again_or_leads_to_another_host(url: str, path: str) -> None:
    assert Link(url).path == path


def test_no_text_of_a_link_shows_it() -> None:
    link = link_of({"recording_url": f"{URL}?sig=c0ffee"})
    assert "c0ffee" not in f"{link!r} {link}"


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -(10**400), 10**15]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
queries = st.lists(
    st.tuples(
        st.sampled_from(
            ["Expires", "expires", "se", "X-Amz-Date", "X-Amz-Expires", "X-Goog-Date", "X-Goog-Expires", "a"]
        ),
        st.text() | st.integers().map(str) | st.sampled_from(["20260131T110000Z", "0001-01-01T00:00+23:59", "9" * 15]),
    ).map("=".join)
).map(lambda pairs: f"{URL}?{'&'.join(pairs)}")


@given(
    st.fixed_dictionaries({}, optional={"recording_url": odd | queries, "expires_at": odd | queries, "duration": odd})
    | odd
)
@example({"recording_url": URL, "expires_at": "0001-01-01T00:00:00+23:59"})
@example({"recording_url": URL, "expires_at": "9999-12-31T23:59:59-23:59"})
@example({"recording_url": URL, "expires_at": 10**400, "duration": 10**400})
def test_whatever_is_served_is_a_link_or_none(details: object) -> None:
    link = link_of(details)
    if link is None:
        return
    assert isinstance(details, dict)
    assert link.url == details["recording_url"]
    assert link.ends_at is None or link.ends_at.utcoffset() == timedelta()
    assert link.duration is None or (isfinite(link.duration) and link.duration >= 0)
    assert isinstance(link.is_fresh(NOON), bool)
    assert "?" not in link.path
