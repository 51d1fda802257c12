"""Says what an answer other than a page means: its status, its headers and the few words in its body. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from exporter.bearer import Bearer
from exporter.contract import (
    BASE_URL_VARIABLE,
    CONVERSATIONS_PATH,
    HOUR,
    ORGANIZATION_VARIABLE,
    SECOND,
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
from exporter.fetch.pace.allowance import LONGEST_SECONDS
from exporter.fetch.pace.quota import quota_of
from exporter.route import Proxy

_MAX_QUOTED_CHARACTERS: Final = 200
#: Some services answer 420, 430, 509 or 529 in place of 429 and 503.
_TOO_FAST: Final = frozenset({420, 429, 430, 503, 509, 529})
#: A parameter is wrong, says an API that has read the question.
_LOOKED_AT: Final = frozenset({400, 422})
#: Keys that hold the sentence of an error in RFC 9457, OAuth, and common frameworks. Those on a line are alternatives.
_SAYING: Final = (
    ("error_description", "title"),
    ("detail", "details", "message", "msg", "description", "reason"),
    ("error", "errors"),
)
_MOST_SENTENCES: Final = 5
_DEPTH: Final = 5


def refusal(
    address: str, host: str, status: int, headers: Mapping[str, str], body: bytes, bearer: Bearer, now_seconds: float
) -> SourceError:
    """Returns the error that an answer with a status other than 200 stands for.

    `address` is what was asked, without its query, `host` is how messages name it, and `now_seconds` is the server's
    clock, if known.
    """
    error = _refusal(address, host, status, headers, body, bearer, now_seconds)
    is_slowed = isinstance(error, ThrottledError) and not error.may_be_outage
    return error.in_brief(f"slowed down by the API ({status})" if is_slowed else f"no page from {host} ({status})")


def _refusal(
    address: str, host: str, status: int, headers: Mapping[str, str], body: bytes, bearer: Bearer, now_seconds: float
) -> SourceError:
    if 300 <= status < 400:
        return RequestRefusedError(
            f"{host} answered {status}, {_redirect(address, headers.get('Location', ''), bearer)}"
        )
    said = own_words(body, bearer) if status >= 400 else None
    answered = f"{host} answered {status}" + (f": {said}" if said else "")
    wait_seconds = _wait_seconds(headers, now_seconds)
    match status:
        case 401:
            what = answered if said else f"{answered}: the token is wrong, expired or revoked"
            hint = f"check {bearer.source.named}"
            if bearer.is_personal:
                where = f"{ORGANIZATION_VARIABLE} or --org-id"
                hint += f", and {where}: a personal token (pat_) works for the organization it names"
            return AccessError(f"{what}; {hint}")
        # A refusal that says when to come back is for coming too fast, whatever its status.
        case _ if status in _TOO_FAST or (status >= 400 and "Retry-After" in headers and wait_seconds is not None):
            return ThrottledError(answered, wait_seconds, status)
        case 403 if wait_seconds is not None:
            return ThrottledError(answered, wait_seconds, status)
        case 403:
            hint = "The token needs the scope conversations:read or conversations:manage"
            if bearer.is_personal:
                hint += f", and access to the organization that {ORGANIZATION_VARIABLE} or --org-id names"
            return AccessError(f"{answered}. {hint}", is_forbidden=True)
        case 404:
            return RequestRefusedError(
                f"{answered}. Is that the conversations API? Either it has no {CONVERSATIONS_PATH} (then check "
                f"{BASE_URL_VARIABLE}), or it says so of an empty list, which must be []"
            )
        case 408 | 425:
            return ServerFailedError(answered)
        case _ if 400 <= status < 500:
            return RequestRefusedError(answered, is_final=status in _LOOKED_AT)
        case _ if status >= 500:
            return ServerFailedError(answered)
        case _:
            return UnusableAnswerError(f"{answered} instead of 200")


def proxy_refusal(proxy: Proxy, host: str, status: int) -> SourceError:
    """Returns the error that a proxy's own answer to `CONNECT` stands for, or its 407 to any request."""
    return _proxy_refusal(proxy, host, status).on_the_way()


def _proxy_refusal(proxy: Proxy, host: str, status: int) -> SourceError:
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


def quoted(text: str, bearer: Bearer) -> str:
    """Returns a server's text in a form fit for a message: printable, short, without a token."""
    printable = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return bearer.hidden(printable)[:_MAX_QUOTED_CHARACTERS].rstrip(" .")


def http_date(text: str | None) -> Instant | None:
    """Returns the instant that an HTTP date names; None for anything else."""
    try:
        moment = parsedate_to_datetime(text or "")
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND
    except (ValueError, OverflowError):
        return None


def clock_of(date: str | None, local: float) -> tuple[Instant | None, float]:
    """Returns the server's clock by its `Date`, None if it does not tell; and one in seconds, which may be `local`.

    If the two differ by more than an hour, one is wrong, and a date to wait for is taken by the later one: it is met
    sooner.
    """
    served_at = http_date(date)
    if served_at is None:
        return None, local
    served = served_at / SECOND
    return served_at, max(served, local) if abs(served - local) > HOUR / SECOND else served


def age_of(text: str | None) -> int:
    """Returns the microseconds that an `Age` header names; 0 for anything else."""
    return int(text.strip()) * SECOND if text and re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII) else 0


def retry_after_seconds(text: str | None, now_seconds: float) -> float | None:
    """Returns how long `Retry-After` asks to wait, as a number of seconds or a date; None for anything else."""
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


def own_words(body: bytes, bearer: Bearer) -> str | None:
    """Returns what a JSON body says of an error, fit for a message; None if it is not about one, or is not JSON."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    sentences = dict.fromkeys(filter(None, (sentence.strip(" .") for sentence in _sentences(said, _DEPTH))))
    return quoted("; ".join([*sentences][:_MOST_SENTENCES]), bearer) or None


def _sentences(said: object, depth: int, *, is_inside: bool = False) -> Iterator[str]:
    """Yields the sentences of an error. Below a key that names one, they may go by the names of parameters."""
    if isinstance(said, str):
        yield said
    elif depth and isinstance(said, list):
        for item in said[:_MOST_SENTENCES]:
            yield from _sentences(item, depth - 1, is_inside=is_inside)
    elif depth and isinstance(said, dict):
        values = [next((said[name] for name in names if said.get(name)), None) for names in _SAYING]
        # A code stands in for a sentence, and is noise beside one.
        for saying in (values, [said.get("code") or said.get("type")]):
            found = [sentence for value in saying for sentence in _sentences(value, depth - 1, is_inside=True)]
            if found:
                yield from found
                return
        if is_inside:
            for name, value in [*said.items()][:_MOST_SENTENCES]:
                yield from (f"{name}: {sentence}" for sentence in _sentences(value, depth - 1, is_inside=True))


def wants_slash(address: str, status: int, headers: Mapping[str, str]) -> bool:
    """Returns whether an answer sends from `address` to the same path on that host, except for a slash at its end."""
    asked, target = urlsplit(address), _target(address, headers.get("Location", ""))
    if not 300 <= status < 400 or target is None:
        return False
    is_same = (asked.hostname, asked.path.rstrip("/")) == (target.hostname, target.path.rstrip("/"))
    return is_same and asked.path != target.path


def _redirect(address: str, location: str, bearer: Bearer) -> str:
    """Explains what a redirect from `address` to `location` means, and what to do about it."""
    # The token is replaced first: a host is lower-cased when it is taken apart, and may be only a part of the token.
    target = _target(address, bearer.hidden(location))
    if target is None:
        return f"a redirect that does not say where to. The token is not sent on; check {BASE_URL_VARIABLE}"
    origin = f"{target.scheme}://{target.netloc.rpartition('@')[2]}"
    said = f"a redirect to {quoted(origin + target.path, bearer)}. The token is not sent on; "
    own = urlsplit(address)
    base, is_list, rest = (origin + target.path.rstrip("/")).rpartition(CONVERSATIONS_PATH)
    if (own.scheme, own.netloc, own.path.rstrip("/")) == (target.scheme, target.netloc, target.path.rstrip("/")):
        return f"{said}that is where it was asked: the API, or what stands before it, sends requests in a circle"
    if is_list and not rest and target.scheme == "https":
        return f"{said}if that is the API, set {BASE_URL_VARIABLE} to {quoted(base, bearer)}"
    if target.hostname == own.hostname:
        return f"{said}something there wants more than the token, such as a login. Ask the API's owner"
    return f"{said}set {BASE_URL_VARIABLE} to the API's own address"


def _target(address: str, location: str) -> SplitResult | None:
    """Returns where a redirect leads; None where that cannot be read."""
    try:
        target = urlsplit(urljoin(address, location))
        return target if location and target.hostname else None
    except ValueError:
        return None
