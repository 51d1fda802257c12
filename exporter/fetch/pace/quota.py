"""Reads, with suspicion, how many further requests are welcome by what answers say: three generations of headers. Pure.

- `RateLimit: "name";r=0;t=30`, one item per policy (draft-ietf-httpapi-ratelimit-headers, from -08), and
  `RateLimit: limit=100, remaining=0, reset=30` (-07)
- `RateLimit-Remaining: 0` and `RateLimit-Reset: 30` (up to -06)
- `X-RateLimit-Remaining` and `X-RateLimit-Reset`, in seconds from now, or in seconds or milliseconds since 1970

Limits and policies are not read: how fast to ask is learned from what the server does.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

#: A reset above the first is a time since 1970 in seconds, and above the second, in milliseconds.
_EPOCH_SECONDS: Final = 1e8
_EPOCH_MILLISECONDS: Final = 1e11
_MAX_CHARACTERS: Final = 1000
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_PAIR: Final = re.compile(r"\b(r|t|remaining|reset)\s*=\s*(\d{1,15})(?![\w.])", re.ASCII)
_SEPARATE: Final = (("RateLimit-Remaining", "RateLimit-Reset"), ("X-RateLimit-Remaining", "X-RateLimit-Reset"))


class Quota(msgspec.Struct, frozen=True):
    """Says that `remaining` requests may follow in the next `reset_seconds`; then there will be more."""

    remaining: int
    reset_seconds: float


def quota_of(headers: Mapping[str, str], now_seconds: float) -> Quota | None:
    """Returns the quota that leaves the least, and of equal ones the one that lasts longest; None if there is none.

    `now_seconds` is the server's clock, if known.
    """
    quotas = [Quota(int(remaining), max(0.0, _from_now(reset, now_seconds))) for remaining, reset in _pairs(headers)]
    return min(quotas, key=lambda quota: (quota.remaining, -quota.reset_seconds), default=None)


def _from_now(reset: float, now_seconds: float) -> float:
    if reset < _EPOCH_SECONDS:
        return reset
    return (reset if reset < _EPOCH_MILLISECONDS else reset / 1000) - now_seconds


def _pairs(headers: Mapping[str, str]) -> Iterator[tuple[float, float]]:
    """Yields each number of remaining requests with its reset."""
    combined = headers.get("RateLimit", "")[:_MAX_CHARACTERS]
    # Draft -07 has one quota in a list, and later drafts have a list of quotas.
    for item in [combined] if "remaining" in combined else combined.split(","):
        said = {name: float(value) for name, value in _PAIR.findall(item)}
        remaining, reset = said.get("r", said.get("remaining")), said.get("t", said.get("reset"))
        if remaining is not None and reset is not None:
            yield remaining, reset
    for names in _SEPARATE:
        lists = [headers.get(name, "")[:_MAX_CHARACTERS].split(",") for name in names]
        for remaining_text, reset_text in zip(*lists, strict=False):
            if _NUMBER.fullmatch(remaining_text.strip()) and _NUMBER.fullmatch(reset_text.strip()):
                yield float(remaining_text), float(reset_text)
