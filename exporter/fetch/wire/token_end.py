"""Finds in the headers of an answer when the token ends, as far as the API tells. Pure.

No standard says how. GitHub has `GitHub-Authentication-Token-Expiration: 2026-03-01 08:00:00 UTC`; others say it in a
name and a form of their own. So each header is heard whose name speaks of the end of a token or a key, and what is
doubtful counts for nothing: it only makes a warning.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from exporter.contract import DAY, SECOND, Instant
from exporter.fetch.wire.refusals import http_date

_TOLD_IN: Final = re.compile(r"(token|(api|access)-?key|credential)s?-?(.*-)?(expir|valid-until|not-after)", re.ASCII)
#: These tokens are for something else than to be let in.
_OTHER: Final = re.compile(r"csrf|xsrf|session|refresh|upload|page|cursor|security", re.ASCII)
_SECONDS: Final = re.compile(r"\d{10}", re.ASCII)
_MILLISECONDS: Final = re.compile(r"\d{13}", re.ASCII)
#: Two headers that are further apart contradict each other.
_SAME: Final = DAY
_LATEST: Final = 3660 * DAY
_MOST_CHARACTERS: Final = 40


def token_end_in(headers: Mapping[str, str], now: Instant) -> Instant | None:
    """Returns when the token ends by the headers of an answer that accepts it; None unless they tell, and agree.

    An end that is past, or more than ten years ahead, is none.
    """
    told = [
        end
        for name, value in headers.items()
        if _TOLD_IN.search(name.lower()) and not _OTHER.search(name.lower())
        if (end := _instant(value.strip()[:_MOST_CHARACTERS])) is not None and now < end < now + _LATEST
    ]
    return min(told) if told and max(told) - min(told) <= _SAME else None


def _instant(text: str) -> Instant | None:
    """Returns the time that a text names, which without an offset is in UTC; None if it may be something else.

    A number may be of seconds or milliseconds since 1970; a short one may be of seconds from now, or of anything.
    """
    if _SECONDS.fullmatch(text):
        return int(text) * SECOND
    if _MILLISECONDS.fullmatch(text):
        return int(text) // 1000 * SECOND
    if text.isdigit():
        return None
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return http_date(text)
    try:
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND
    except OverflowError:
        return None
