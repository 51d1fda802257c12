import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bearer import Bearer
from exporter.contract import SECOND, parse_timestamp
from exporter.errors import (
    AccessError,
    RequestRefusedError,
    ServerFailedError,
    SourceError,
    ThrottledError,
    UnusableAnswerError,
)
from exporter.fetch.wire.refusals import http_date, quoted, refusal, retry_after_seconds, wants_slash

NOW = parse_timestamp("2026-02-10T05:00:00Z") / SECOND
TOKEN = "ak_4f9d2c71e0b8"


def refused(status: int, headers: dict[str, str], body: bytes = b"", token: str = TOKEN) -> SourceError:
    return refusal("https://api.example/core/conversations", "api.example", status, headers, body, Bearer(token), NOW)


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
        ({"errors": ["no such field", "limit is 0"]}, "no such field; limit is 0"),
        ({"errors": [{"title": "Bad", "detail": "limit is 0."}]}, "Bad; limit is 0"),
        ({"errors": {"limit": ["too large"], "cursor": "no Base64"}}, "limit: too large; cursor: no Base64"),
        ({"detail": {"reason": "no such organization"}}, "no such organization"),
        ({"detail": {"limit": "too large"}}, "limit: too large"),
        ({"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "No."}, "Forbidden; No"),
        ({"type": "https://example/errors/quota", "title": "Out of credit"}, "Out of credit"),
        ({"error": "invalid_token", "error_description": "It has expired."}, "It has expired; invalid_token"),
        ({"error": {"code": "quota_exceeded", "status": 429}}, "quota_exceeded"),
        ({"error": {"errors": [{"message": "bad cursor", "domain": "global"}]}}, "bad cursor"),
        ({"fault": {"faultstring": "nobody knows this"}, "message": "\x1b[31mred\u202e"}, "[31mred"),
        ({"errors": [f"error {number}" for number in range(50)]}, "error 0; error 1; error 2; error 3; error 4"),
        ({"detail": f"no such token: {TOKEN}"}, "no such token: (token)"),
    ],
)
def test_the_apis_own_sentence(body: object, said: str) -> None:
    error = refusal(
        "https://api.example/core/conversations", "api.example", 400, {}, json.dumps(body).encode(), Bearer(TOKEN), NOW
    )
    assert str(error) == f"api.example answered 400: {said}"
    assert type(error) is RequestRefusedError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"detail": 3}',
        b'{"detail": []}',
        b'[{"id": "c-1"}]',
        b'{"id": "c-1"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_no_sentence(body: bytes) -> None:
    assert str(refused(400, {}, body)) == "api.example answered 400"


@given(st.integers(100, 999).filter(lambda status: status != 200), st.binary(max_size=60))
def test_every_status_means_something(status: int, body: bytes) -> None:
    error = refusal(
        "https://api.example/core/conversations",
        "api.example",
        status,
        {"Location": "?", "Retry-After": "?"},
        body,
        Bearer(TOKEN),
        NOW,
    )
    assert isinstance(error, SourceError)
    assert str(status) in str(error)


@given(st.text("a\x00 \n", max_size=20), st.text("a\x07 ", max_size=20), st.integers(0, 220))
def test_a_quote_never_holds_the_token(before: str, after: str, padding: int) -> None:
    text = "p" * padding + before + TOKEN + after
    assert TOKEN not in quoted(text, Bearer(TOKEN))
    assert TOKEN[:12] not in quoted(text, Bearer(TOKEN))
    assert len(quoted(text, Bearer(TOKEN))) <= 200


@pytest.mark.parametrize("status", [400, 403, 404, 408, 409, 422, 425, 429, 500, 502, 503, 520, 529])
def test_a_refusal_that_says_when_to_come_back_is_for_coming_too_fast(status: int) -> None:
    error = refused(status, {"Retry-After": "7"})
    assert isinstance(error, ThrottledError)
    assert (error.retry_after_seconds, error.status) == (7.0, status)


def test_a_403_for_want_of_quota_is_for_coming_too_fast() -> None:
    error = refused(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"})
    assert isinstance(error, ThrottledError)
    assert error.retry_after_seconds == 30
    assert type(refused(403, {"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "30"})) is AccessError
    assert type(refused(404, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"})) is RequestRefusedError


def test_a_refused_token_is_none_of_speed() -> None:
    assert type(refused(401, {"Retry-After": "7"})) is AccessError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, ServerFailedError) for status in (408, 425, 500, 501, 502, 504, 520, 522, 525, 527, 530, 599)),
        *((status, ThrottledError) for status in (420, 429, 430, 503, 509, 529)),
        *((status, RequestRefusedError) for status in (400, 402, 404, 405, 407, 409, 410, 421, 422, 423, 451, 302)),
        *((status, AccessError) for status in (401, 403)),
        *((status, UnusableAnswerError) for status in (201, 202, 204, 206, 226)),
    ],
)
def test_the_class_of_a_status(status: int, kind: type[SourceError]) -> None:
    error = refused(status, {"Location": "/login"})
    assert type(error) is kind
    assert getattr(error, "is_final", False) == (status in (400, 422))


def test_what_is_no_error_is_not_quoted() -> None:
    row = {"id": "c-1", "message": "what was said", "conversation": {"items": []}}
    assert str(refused(206, {}, json.dumps([row]).encode())) == "api.example answered 206 instead of 200"


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("https://login.example/x?next=1", "to https://login.example/x. The token is not sent on; set ANYREACH_BASE_"),
        (
            "https://eu.api.example/core/conversations?limit=1",
            "the API, set ANYREACH_BASE_URL to https://eu.api.example",
        ),
        ("/v2/core/conversations/", "if that is the API, set ANYREACH_BASE_URL to https://api.example/v2"),
        ("https://www.api.example:8443/core/conversations", "set ANYREACH_BASE_URL to https://www.api.example:8443"),
        ("/login?next=x", "to https://api.example/login. The token is not sent on; something there wants more than"),
        ("", "does not say where to"),
        ("http://[::1", "does not say where to"),
        ("mailto:me", "does not say where to"),
        ("/core/conversations?limit=1", "in a circle"),
        (f"//{TOKEN}/", "to https://(token)/. The token"),
        (f"https://user:{TOKEN}@api.example/{TOKEN}", "to https://api.example/(token)"),
        ("http://api.example/core/conversations", "something there wants more"),
    ],
)
def test_a_redirect_says_where_to_and_what_to_do(location: str, says: str) -> None:
    error = refused(302, {"Location": location})
    assert type(error) is RequestRefusedError
    assert says in str(error)
    assert TOKEN not in str(error)


def test_an_upgrade_to_https_names_the_address() -> None:
    headers = {"Location": "https://api.example/core/conversations?limit=1"}
    error = refusal("http://api.example/core/conversations", "api.example", 308, headers, b"", Bearer(TOKEN), NOW)
    assert str(error).endswith("if that is the API, set ANYREACH_BASE_URL to https://api.example")


@pytest.mark.parametrize(
    ("location", "wants"),
    [
        ("/core/conversations/?limit=1", True),
        ("http://api.example/core/conversations/", True),
        ("http://api.example:8000/core/conversations/", True),
        ("https://other.example/core/conversations/", False),
        ("/core/conversations", False),
        ("/core/conversations//x", False),
        ("/login/", False),
        ("", False),
        ("http://[::1", False),
    ],
)
def test_a_slash_at_the_end(location: str, wants: bool) -> None:
    assert wants_slash("https://api.example/core/conversations", 307, {"Location": location}) is wants
    assert not wants_slash("https://api.example/core/conversations", 404, {"Location": location})
