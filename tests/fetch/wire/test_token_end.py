"""The end of a token is heard in every form that was met, and what is doubtful is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR, parse_timestamp
from exporter.fetch.wire.token_end import token_end_in

NOW = parse_timestamp("2026-02-20T12:00:00Z")
END = parse_timestamp("2026-03-01T08:00:00Z")
NAME = "GitHub-Authentication-Token-Expiration"


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01 08:00:00 UTC",
        "2026-03-01 00:00:00 -0800",
        " 2026-03-01T08:00:00Z ",
        "2026-03-01T09:00:00.5+01:00",
        "2026-03-01T08:00:00",
        "Sun, 01 Mar 2026 08:00:00 GMT",
        str(END // 1_000_000),
        str(END // 1_000),
    ],
)
def test_forms_of_a_time(text: str) -> None:
    assert token_end_in({NAME: text}, NOW) == END


def test_a_day_ends_a_token_at_its_beginning() -> None:
    assert token_end_in({NAME: "2026-03-01"}, NOW) == END - 8 * HOUR


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "x-token-expires-at",
        "X-Api-Key-Expires",
        "X-ApiKey-Expiry",
        "X-Access-Token-Expiration",
        "CB-Token-ExpirationDate",
        "X-Token-Valid-Until",
        "X-Credential-Not-After",
    ],
)
def test_names_of_a_header(name: str) -> None:
    assert (
        token_end_in({"Date": "x", "Expires": "Sun, 01 Mar 2026 08:00:00 GMT", name: "2026-03-01T08:00:00Z"}, NOW)
        == END
    )


@pytest.mark.parametrize(
    "name",
    ["Expires", "X-CSRF-Token-Expires", "X-Session-Token-Expires", "X-Page-Token-Expires", "X-Upload-Token-Expires-At",
     "X-Refresh-Token-Expires-At", "X-Amz-Expires", "X-Token-Type", "X-RateLimit-Reset"],
)  # fmt: skip
def test_names_that_speak_of_something_else(name: str) -> None:
    assert token_end_in({name: "2026-03-01T08:00:00Z"}, NOW) is None


@pytest.mark.parametrize(
    "text",
    ["", "never", "0", "3600", "777600", "20260301", "true", "2026-13-01", "2026-01-01T00:00:00Z", "2126-01-01",
     "0001-01-01", "9999-12-31T23:59:59-12:00", "9" * 4000, "\u0661" * 10],
)  # fmt: skip
def test_doubtful_ends_are_none(text: str) -> None:
    assert token_end_in({NAME: text}, NOW) is None


def test_headers_that_contradict_each_other_tell_nothing() -> None:
    told = {NAME: "2026-03-01T08:00:00Z", "X-Token-Expires-At": "2026-03-01T20:00:00Z"}
    assert token_end_in(told, NOW) == END
    assert token_end_in({**told, "X-Token-Expiry": "2026-06-01"}, NOW) is None
    assert token_end_in({**told, "X-Token-Expiry": "never"}, NOW) == END


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_header_says(name: str, text: str) -> None:
    for each in (name, NAME):
        end = token_end_in({each: text}, NOW)
        assert end is None or NOW < end < NOW + 3660 * DAY
