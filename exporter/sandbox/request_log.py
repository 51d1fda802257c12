"""Writes a line for each request that the stand-in server has answered."""

from typing import Final
from urllib.parse import quote, urlencode

from exporter.contract import SECOND, Instant, format_instant
from exporter.sandbox.gate import TOKENS
from exporter.sandbox.server import ServedAnswer, ServedRequest

_UNQUOTED: Final = ":,/"


def line_of(request: ServedRequest, answer: ServedAnswer, at: Instant) -> str:
    """Returns the line of an answer that was ready `at` this time. No token is in it, wherever the client put one."""
    query = {name: "***" if value in TOKENS else value for name, value in request.query.items()}
    parameters = urlencode(query, safe=_UNQUOTED + "*", quote_via=quote)
    return " ".join(
        [
            _in_milliseconds(at),
            "GET",
            f"{request.path}?{parameters}" if parameters else request.path,
            "given-up" if answer.status is None else str(answer.status),
            f"rows={'-' if answer.rows is None else answer.rows}",
            f"bytes={answer.size_bytes}",
            f"ms={answer.seconds * 1000:.1f}",
            *([] if answer.fault is None else [f"fault={answer.fault}"]),
        ]
    )


def _in_milliseconds(at: Instant) -> str:
    """Returns the time with three digits of a fraction, also at a whole second: lines of one log have one shape."""
    seconds, micros = divmod(at, SECOND)
    return f"{format_instant(seconds * SECOND).removesuffix('Z')}.{micros // 1000:03d}Z"
