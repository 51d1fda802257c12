import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import SECOND, parse_timestamp
from exporter.errors import RequestRefusedError, SourceError
from exporter.fetch.refusals import http_date, quoted, refusal, retry_after_seconds

NOW = parse_timestamp("2026-02-10T05:00:00Z") / SECOND
TOKEN = "ak_4f9d2c71e0b8"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("Tue, 10 Feb 2026 05:00:30 GMT", 30.0),
        ("Tue, 10 Feb 2026 05:00:30 -0000", 30.0),
        ("Tue, 10 Feb 2026 04:00:00 GMT", 0.0),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Tue, 10 Feb 99999 05:00:30 GMT", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text, NOW) == seconds


@given(st.text(max_size=40))
def test_no_header_breaks_the_reading(text: str) -> None:
    http_date(text)
    seconds = retry_after_seconds(text, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"detail": "limit is 0."}, "limit is 0"),
        ({"message": "no\n\tway"}, "no way"),
        ({"error": {"message": "bad cursor"}}, "bad cursor"),
        ({"detail": [{"loc": ["query", "limit"], "msg": "too large", "input": "x"}]}, "too large"),
        ({"detail": "x" * 5000}, "x" * 200),
        (["plain"], "plain"),
    ],
)
def test_the_apis_own_sentence(body: object, said: str) -> None:
    error = refusal("api.example", 400, {}, json.dumps(body).encode(), TOKEN, NOW)
    assert str(error) == f"api.example answered 400: {said}"
    assert type(error) is RequestRefusedError


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"detail": 3}', b'{"detail": []}', b"[" * 100_000, b"\xff"])
def test_no_sentence(body: bytes) -> None:
    assert str(refusal("api.example", 400, {}, body, TOKEN, NOW)) == "api.example answered 400"


@given(st.integers(100, 999).filter(lambda status: status != 200), st.binary(max_size=60))
def test_every_status_means_something(status: int, body: bytes) -> None:
    error = refusal("api.example", status, {"Location": "?", "Retry-After": "?"}, body, TOKEN, NOW)
    assert isinstance(error, SourceError)
    assert str(status) in str(error)


@given(st.text("a\x00 \n", max_size=20), st.text("a\x07 ", max_size=20), st.integers(0, 220))
def test_a_quote_never_holds_the_token(before: str, after: str, padding: int) -> None:
    text = "p" * padding + before + TOKEN + after
    assert TOKEN not in quoted(text, TOKEN)
    assert TOKEN[:12] not in quoted(text, TOKEN)
    assert len(quoted(text, TOKEN)) <= 200
