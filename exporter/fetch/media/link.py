"""Reads the link of a recording, and when it ends, from what the API serves. Pure.

A link is a credential while it lives: neither `repr` nor an error shows it. Whoever signs links may name their end in
the query, each in another way; the earliest end that can be read counts. A link that names none may end at any time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final
from urllib.parse import unquote

from exporter.contract import LINK_ENDS, RECORDING_URL, parse_timestamp, to_datetime

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: A number above this is a time since 1970 in milliseconds, not in seconds.
_EPOCH_MILLISECONDS: Final = 1e11
#: A query that is longer than this is not read, because no such link is followed.
_MAX_QUERY_CHARACTERS: Final = 8 * 1024
#: Without a user, who may be followed by a password.
_HOST: Final = re.compile(
    r"https?://(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::\d{1,5})?(?=[/?#]|\Z)", re.ASCII | re.I
)
_DIGITS: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_COMPACT: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Link:
    """Holds a recording's address, when it ends (in UTC), and how many seconds the recording lasts; None: not said."""

    url: str = field(repr=False)
    ends_at: datetime | None = None
    duration: float | None = None

    def is_fresh(self, now: datetime, margin_seconds: float = 30.0) -> bool:
        """Returns whether the link lives for as long as the margin, as far as it says; `now` must have an offset."""
        return self.ends_at is None or (self.ends_at - now).total_seconds() >= margin_seconds

    @property
    def path(self) -> str:
        """Returns what stays the same when a link is signed again: no query, and no host, of which there may be many.

        It is the whole address, without a query, if that is not an absolute one.
        """
        place = re.split(r"[?#]", self.url, maxsplit=1)[0]
        _, is_absolute, rest = place.partition("://")
        return "/" + rest.partition("/")[2] if is_absolute else place

    @property
    def host(self) -> str:
        """Returns the host's name or address, to be shown; `?` in place of what is none."""
        match = _HOST.match(self.url)
        return match[1].lower() if match else "?"


def link_of(details: object) -> Link | None:
    """Returns the link in a conversation's `recording_details`, as parsed from JSON; None if it holds none.

    Of details in a list, the first with a link count.
    """
    every: list[Any] = details if isinstance(details, list) else [details]
    for each in every:
        url = each.get(RECORDING_URL) if isinstance(each, dict) else None
        if isinstance(url, str) and url:
            named = (_moment(each.get(name)) for name in LINK_ENDS)
            ends = [end for end in (*_ends_of(url), *named) if end is not None]
            return Link(url, min(ends, default=None), _duration(each.get("duration")))
    return None


def _ends_of(url: str) -> Iterator[datetime | None]:
    """Yields each end that the query names, or None in place of one that cannot be read."""
    query = url.partition("#")[0].partition("?")[2]
    if len(query) > _MAX_QUERY_CHARACTERS:
        return
    pairs = (pair.partition("=") for pair in query.split("&"))
    values = {name.lower(): unquote(value) for name, _, value in pairs}
    for signer in ("x-amz", "x-goog"):
        yield _after(values.get(f"{signer}-date", ""), values.get(f"{signer}-expires", ""))
    for name in ("expires", "se"):
        yield _moment(values.get(name))


def _after(start: str, seconds: str) -> datetime | None:
    if _COMPACT.fullmatch(start) is None or _DIGITS.fullmatch(seconds) is None:
        return None
    try:
        return datetime.fromisoformat(start) + timedelta(seconds=float(seconds))
    except (ValueError, OverflowError):
        return None


def _moment(value: Any) -> datetime | None:
    """Returns the time that a value names: ISO 8601, or seconds or milliseconds since 1970."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = float(value)
    try:
        if isinstance(value, str):
            return to_datetime(parse_timestamp(value))
        number = _number(value)
        if number is None:
            return None
        return _EPOCH + timedelta(seconds=number if number < _EPOCH_MILLISECONDS else number / 1000)
    except (ValueError, OverflowError):
        return None


def _duration(value: object) -> float | None:
    number = _number(value)
    return None if number is None or number < 0 else number


def _number(value: object) -> float | None:
    """Returns a finite number; None for anything else, and for one that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None
