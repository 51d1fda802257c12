"""What an answer other than a page means: its status, its headers and the few words in its body. Pure."""

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from exporter.contract import (
    BASE_URL_VARIABLE,
    CONVERSATIONS_PATH,
    ORGANIZATION_VARIABLE,
    PERSONAL_TOKEN_PREFIX,
    SECOND,
    TOKEN_VARIABLE,
    Instant,
)
from exporter.errors import (
    AccessError,
    RequestRefusedError,
    ServerFailedError,
    SourceError,
    ThrottledError,
    UnreachableError,
    UnusableAnswerError,
)
from exporter.fetch.allowance import LONGEST_SECONDS
from exporter.fetch.quota import quota_of
from exporter.route import Proxy

_MAX_QUOTED_CHARACTERS: Final = 200


def refusal(
    host: str, status: int, headers: Mapping[str, str], body: bytes, token: str, now_seconds: float
) -> SourceError:
    """The error that an answer with a status other than 200 stands for. `now_seconds`: the server's clock, if known."""
    if 300 <= status < 400:
        # Before it is taken apart: a host is lower-cased, and may be but a part of the token.
        target = _host_of(headers.get("Location", "").replace(token, "(token)"))
        where = f" to {quoted(target, token)}" if target else ""
        return RequestRefusedError(
            f"{host} answered {status}, a redirect{where}. The token is not sent on; "
            f"set {BASE_URL_VARIABLE} to the API's own address"
        )
    said = _own_words(body, token)
    answered = f"{host} answered {status}" + (f": {said}" if said else "")
    match status:
        case 401:
            hint = f"The token is wrong, expired or revoked; check {TOKEN_VARIABLE} or --token-file"
            if token.startswith(PERSONAL_TOKEN_PREFIX):
                where = f"{ORGANIZATION_VARIABLE} or --org-id"
                hint += f", and {where}: a personal token (pat_) works for the organization it names"
            return AccessError(f"{answered}. {hint}")
        case 403:
            hint = "The token needs the scope conversations:read or conversations:manage"
            if token.startswith(PERSONAL_TOKEN_PREFIX):
                hint += f", and access to the organization that {ORGANIZATION_VARIABLE} or --org-id names"
            return AccessError(f"{answered}. {hint}")
        case 404:
            return RequestRefusedError(
                f"{answered}. Is that the conversations API? It has no {CONVERSATIONS_PATH}; check {BASE_URL_VARIABLE}"
            )
        case 429 | 503:
            return ThrottledError(answered, _wait_seconds(headers, now_seconds), status)
        case 408 | 425:
            return ServerFailedError(answered)
        case _ if 400 <= status < 500:
            return RequestRefusedError(answered)
        case _ if status >= 500:
            return ServerFailedError(answered)
        case _:
            return UnusableAnswerError(f"{answered} instead of 200")


def proxy_refusal(proxy: Proxy, host: str, status: int) -> SourceError:
    """The error that a proxy's own answer to `CONNECT` stands for, and 407 to any request."""
    match status:
        case 407:
            return RequestRefusedError(
                f"the proxy {proxy.address} wants other credentials (407). "
                f"Give them in {proxy.variable}, as http://USER:PASSWORD@HOST:PORT"
            )
        case 429:
            return ThrottledError(f"the proxy {proxy.address} answered 429")
        case _ if status == 408 or status >= 500:
            return UnreachableError(f"the proxy {proxy.address} does not reach {host} ({status})")
        case _:
            return RequestRefusedError(
                f"the proxy {proxy.address} does not let requests through to {host} ({status}). "
                "If the host can be reached without it, name it in NO_PROXY"
            )


def quoted(text: str, token: str) -> str:
    """A server's text, fit for a message: printable, short, without the token."""
    printable = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return printable.replace(token, "(token)")[:_MAX_QUOTED_CHARACTERS].rstrip(" .")


def http_date(text: str | None) -> Instant | None:
    """The instant that an HTTP date names; None for anything else."""
    try:
        moment = parsedate_to_datetime(text or "")
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND
    except (ValueError, OverflowError):
        return None


def age_of(text: str | None) -> int:
    """The microseconds that an `Age` header names; 0 for anything else."""
    return int(text.strip()) * SECOND if text and re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) else 0


def retry_after_seconds(text: str | None, now_seconds: float) -> float | None:
    """How long `Retry-After` asks to wait: a number of seconds, or a date. None for anything else."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip(), re.ASCII):
        return float(text)
    moment = http_date(text)
    return None if moment is None else max(0.0, moment / SECOND - now_seconds)


def _wait_seconds(headers: Mapping[str, str], now_seconds: float) -> float | None:
    seconds = retry_after_seconds(headers.get("Retry-After"), now_seconds)
    if seconds is None and (quota := quota_of(headers, now_seconds)) is not None and quota.remaining == 0:
        return min(quota.reset_seconds, LONGEST_SECONDS)
    return seconds


def _own_words(body: bytes, token: str) -> str | None:
    """The sentence in a JSON error body: of `detail`, `message` or `error`, or of the first of a list of them."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for _ in range(4):
        if isinstance(said, dict):
            said = next((said[key] for key in ("detail", "message", "msg", "error") if said.get(key)), None)
        elif isinstance(said, list):
            said = said[0] if said else None
    return quoted(said, token) or None if isinstance(said, str) else None


def _host_of(location: str) -> str | None:
    try:
        return urlsplit(location).hostname
    except ValueError:
        return None
