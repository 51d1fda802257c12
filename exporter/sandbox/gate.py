"""Decides which requests get in, and how fast: tokens, roles and rate limits (source.md, Request; 8; 10)."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import formatdate
from typing import Final, NamedTuple

from exporter.contract import ORGANIZATION_HEADER, PERSONAL_TOKEN_PREFIX, SECOND, Instant, format_instant
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.conversations import ORGANIZATION

TOKEN: Final = "ak_sandbox"  # noqa: S105 - opens nothing but this stand-in
TOKEN_NOSENSITIVE: Final = "ak_sandbox_nosensitive"  # noqa: S105
TOKEN_NOSCOPE: Final = "ak_sandbox_noscope"  # noqa: S105
PERSONAL_TOKEN: Final = "pat_sandbox"  # noqa: S105
PERSONAL_TOKEN_NOSENSITIVE: Final = "pat_sandbox_nosensitive"  # noqa: S105
FIRST_TOKENS: Final = (TOKEN, TOKEN_NOSENSITIVE, TOKEN_NOSCOPE, PERSONAL_TOKEN, PERSONAL_TOKEN_NOSENSITIVE)
#: What a token ends with that takes the place of the one without it.
_NEXT: Final = "_next"
TOKENS: Final = (*FIRST_TOKENS, *(token + _NEXT for token in FIRST_TOKENS))


class Refusal(NamedTuple):
    """Represents an answer that refuses a request."""

    status: int
    detail: str
    retry_after_seconds: float | None = None


def key_of(organization: str) -> str:
    """Returns the key of an organization other than the first: `org_sandbox_3` has `ak_sandbox_3`."""
    return organization.replace("org_", "ak_", 1)


def organization_of(headers: Mapping[str, str], others: Collection[str] = ()) -> str:
    """Returns the organization that a token asks for; `others` are those that are served besides the first."""
    token = headers.get("Authorization", "").partition(" ")[2].removesuffix(_NEXT)
    if token.startswith(PERSONAL_TOKEN_PREFIX):
        return headers.get(ORGANIZATION_HEADER, ORGANIZATION)
    return next((each for each in others if token == key_of(each)), ORGANIZATION)


def rotated(token: str, behaviour: Behaviour, position: int) -> str:
    """Returns the token that request `position` needs in place of a first one, which may be itself."""
    after = behaviour.at(position).rotates_after
    return token if after is None or position <= after else token + _NEXT


def check_token(
    headers: Mapping[str, str], behaviour: Behaviour, position: int, others: Collection[str] = ()
) -> Refusal | None:
    """Returns the refusal of the token of request `position`, 401 or 403 as in source.md, or None if it is accepted.

    `others` are the organizations that are served besides the first.
    """
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    token = given.removesuffix(_NEXT)
    is_known = token in FIRST_TOKENS or token in map(key_of, others)
    if scheme != "Bearer" or not is_known or given != rotated(token, behaviour, position):
        return Refusal(401, "Token is missing, invalid or expired.")
    is_personal = token.startswith(PERSONAL_TOKEN_PREFIX)
    if is_personal and ORGANIZATION_HEADER not in headers:
        return Refusal(401, "Token is missing organization claim.")
    own = (ORGANIZATION, *others) if is_personal else (organization_of(headers, others),)
    if headers.get(ORGANIZATION_HEADER, own[0]) not in own and (is_personal or behaviour.checks_organization):
        return Refusal(403, "No access to this organization.")
    if token == TOKEN_NOSCOPE:
        return Refusal(403, "Missing scope conversations:read.")
    return None


def reads_sensitive(headers: Mapping[str, str]) -> bool:
    """Returns whether an accepted token has the scope `conversations:read_sensitive`."""
    return "nosensitive" not in headers.get("Authorization", "")


class TokenBucket:
    """Lets `burst` requests through at once, then `rate` a second. Either may change at any time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens = math.inf
        self._filled_at = clock()

    def take(self, behaviour: Behaviour) -> Refusal | None:
        """Lets one request through, or returns its refusal with 429."""
        if behaviour.rate is None:
            return None
        now = self._clock()
        self._tokens = min(behaviour.burst, self._tokens + (now - self._filled_at) * behaviour.rate)
        self._filled_at = now
        if self._tokens < 1:
            return Refusal(429, "Too many requests.", (1 - self._tokens) / behaviour.rate)
        self._tokens -= 1
        return None


def token_end(behaviour: Behaviour, now: Instant) -> dict[str, str]:
    """Returns the header of a good answer that says when the token ends, if the behaviour wants one."""
    if behaviour.token_ends_in is None:
        return {}
    return {"X-Token-Expires-At": format_instant(now + round(behaviour.token_ends_in) * SECOND)}


def retry_after(refusal: Refusal, behaviour: Behaviour, now: Instant) -> dict[str, str]:
    """Returns the header `Retry-After`, in the form that the behaviour names; whole seconds, rounded up."""
    if refusal.retry_after_seconds is None or behaviour.retry_after == "absent":
        return {}
    seconds = max(1, math.ceil(refusal.retry_after_seconds))
    if behaviour.retry_after == "date":
        return {"Retry-After": formatdate(math.ceil(now / SECOND) + seconds, usegmt=True)}
    return {"Retry-After": str(seconds)}
