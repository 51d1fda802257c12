"""Decides about one download: what to ask for, what an answer means, and when what has come is the recording. Pure.

What is kept of a broken attempt is continued only where the host promises, by a strong `ETag` and an exact
`Content-Range`, that the rest belongs to it. In all other cases it is thrown away, so that no file is ever a mixture.
"""

import re
from collections.abc import Mapping
from random import Random
from typing import Final, Literal, TypeAlias

import msgspec

from exporter.errors import SourceError, ThrottledError, TransientError, UnreachableError
from exporter.fetch.media.media_type import BEGINNING_BYTES, page_type, type_of_page
from exporter.fetch.pace.retry import Contact, Patience, RetryPolicy
from exporter.fetch.wire.refusals import clock_of, retry_after_seconds

#: `stored`, `gone` and `refused` are final; the next run tries the others again.
Status: TypeAlias = Literal["stored", "gone", "expired", "failed", "refused"]

POLICY: Final = RetryPolicy(known=Patience(attempts=5, seconds=0.0, throttled_seconds=300.0))
_MOST_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
#: Of all 4xx, these alone say that the same request may succeed later.
_PASSING: Final = frozenset({408, 425})
_AS_IT_IS: Final = frozenset({"", "identity", "none"})
_STRONG_TAG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]{0,200}"')
_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)
_LENGTH: Final = re.compile(r"\d{1,18}", re.ASCII)
_MOST_KEPT_CHARACTERS: Final = 200


class Take(msgspec.Struct, frozen=True):
    """Lets the body be written from `offset` on, where what is there ends; or from 0, in place of what is there."""

    offset: int


class Again(msgspec.Struct, frozen=True):
    """Asks for another attempt after a pause. `is_throttled` means that the host wants fewer requests of all kinds."""

    pause_seconds: float
    is_throttled: bool = False


class Redirect(msgspec.Struct, frozen=True):
    """Sends the same request to another place, which may be relative to this one."""

    location: str


class End(msgspec.Struct, frozen=True):
    """Ends the download without a recording. `reason` never holds a part of a URL."""

    status: Status
    reason: str


class Dead(msgspec.Struct, frozen=True):
    """Says that the link may have died: a fresh one is worth asking for. Without one, this is the `end`."""

    end: End


class Whole(msgspec.Struct, frozen=True):
    """Says that every byte of the recording has come."""


Step: TypeAlias = Again | Dead | End | Whole


class Transfer:
    """Holds what is known of one recording while it comes, over several attempts and up to two links.

    `is_old` says that the conversation began long enough ago for a 404 to be believed. No recording may be larger than
    `max_bytes`. `received` bytes are on disk after each step, and `attempts` requests were begun. `content_type` and
    `source_etag` are as the host sent them last, printable and
    short.
    """

    def __init__(self, *, is_old: bool, max_bytes: int | None, chance: Random, policy: RetryPolicy = POLICY) -> None:
        self.attempts = 0
        self.received = 0
        self.content_type: str | None = None
        self.source_etag: str | None = None
        #: Set once no further link can be asked for.
        self.is_renewed = False
        self._is_old = is_old
        self._max_bytes = max_bytes
        self._chance = chance
        self._policy = policy
        self._total: int | None = None
        self._tag: str | None = None
        self._beginning = b""
        self._redirects = 0
        self._is_answered = False
        self._failures: dict[type[SourceError], int] = {}
        self._throttled_seconds = 0.0

    def ask(self) -> dict[str, str]:
        """Begins an attempt, and returns the headers of its request."""
        self.attempts += 1
        self._redirects, self._is_answered = 0, False
        headers = {"Accept-Encoding": "identity"}
        if self.received and self._tag is not None:
            headers |= {"Range": f"bytes={self.received}-", "If-Range": self._tag}
        return headers

    def judge(self, status: int, headers: Mapping[str, str], now_seconds: float) -> Take | Redirect | Step:
        """Returns what to do about an answer. `now_seconds` is the time since 1970, and case does not matter in
        `headers`."""
        if status in _REDIRECTS and (location := headers.get("Location")):
            self._redirects += 1
            return Redirect(location) if self._redirects <= _MOST_REDIRECTS else End("failed", "redirects")
        reason = f"status {status}"
        match status:
            case 200 | 203 | 206:
                return self._accept(status, headers)
            case 416:
                self._forget()
                return self._again(UnreachableError(), reason)
            case 429 | 503 if status == 429 or "Retry-After" in headers:
                _, server_seconds = clock_of(headers.get("Date"), now_seconds)
                wait_seconds = retry_after_seconds(headers.get("Retry-After"), server_seconds)
                return self._again(ThrottledError("", wait_seconds, status), reason)
            case 401 | 403:
                return self._dead(End("expired", reason))
            case 404 | 410:
                return self._dead(End("gone" if self._is_old else "failed", reason))
            case _ if status in _PASSING or status >= 500:
                return self.broke(reason)
            case _ if status >= 400:
                # Some stores answer 400 to a link whose time is over.
                return self._dead(End("failed", reason))
            case _:
                return End("failed", reason)

    def take(self, chunk: bytes) -> Step | None:
        """Counts bytes of the body that are about to be written. Returns why not to write them; None to do so."""
        if self.received < BEGINNING_BYTES:
            self._beginning = (self._beginning + chunk)[:BEGINNING_BYTES]
            if page := type_of_page(self._beginning):
                return self._page(page)
        self.received += len(chunk)
        if self._is_too_large(self.received):
            return End("refused", "too large")
        if self._total is not None and self.received > self._total:
            self._forget()
            return self._again(UnreachableError(), "short")
        return None

    def ended(self) -> Step:
        """Returns what to do after a body that has ended as HTTP wants it to."""
        if self._total is not None and self.received != self._total:
            return self.broke()
        return Whole() if self.received else End("failed", "empty")

    def broke(self, reason: str | None = None) -> Step:
        """Returns what to do after an attempt that broke, before the answer or in the middle of it."""
        if reason is None:
            reason = "short" if self._is_answered else "attempts"
        if self._tag is None:
            self._forget()
        return self._again(UnreachableError(), reason)

    def _accept(self, status: int, headers: Mapping[str, str]) -> Take | Step:
        if headers.get("Content-Encoding", "").strip().lower() not in _AS_IT_IS:
            return End("failed", "encoding")
        if page := page_type(headers.get("Content-Type")):
            return self._page(page)
        if status != 206:
            self._forget()
            self._total = _length(headers)
        elif not self._continues(headers):
            self._forget()
            return self._again(UnreachableError(), "attempts")
        if self._is_too_large(self._total or 0):
            return End("refused", "too large")
        if not self.received:
            tag = headers.get("ETag", "")
            self._tag = tag if _STRONG_TAG.fullmatch(tag) else None
            self.source_etag, self.content_type = _kept(tag), _kept(headers.get("Content-Type", ""))
        self._is_answered = True
        return Take(self.received)

    def _continues(self, headers: Mapping[str, str]) -> bool:
        """Returns whether a 206 begins where we are, in the same recording; notes its size."""
        match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != self.received:
            return False
        total = self._total if match[2] == "*" else int(match[2])
        if total is None or (self.received and (headers.get("ETag") != self._tag or self._total not in (None, total))):
            return False
        self._total = total
        return True

    def _page(self, page: str) -> Step:
        """Ends with a page in place of a recording; it may be what a host shows to a link that has died."""
        self._forget()
        return self._dead(End("refused", f"type {page}"))

    def _dead(self, end: End) -> Step:
        return end if self.is_renewed else Dead(end)

    def _forget(self) -> None:
        """Throws away what has come: whatever comes next begins at 0."""
        self.received, self._total, self._tag, self._beginning = 0, None, None, b""

    def _is_too_large(self, size_bytes: int) -> bool:
        return self._max_bytes is not None and size_bytes > self._max_bytes

    def _again(self, error: TransientError, reason: str) -> Again | End:
        self._failures[type(error)] = count = self._failures.get(type(error), 0) + 1
        pause_seconds = self._policy.decide(
            error, count, self._throttled_seconds, Contact.READING, self._chance.random()
        )
        if pause_seconds is None:
            return End("failed", reason)
        if not isinstance(error, ThrottledError):
            return Again(pause_seconds)
        # However short a wait the host asks for, its refusals come to an end.
        pause_seconds = max(pause_seconds, self._policy.base_seconds)
        self._throttled_seconds += pause_seconds
        return Again(pause_seconds, is_throttled=True)


def _kept(text: str) -> str | None:
    """Returns a header as it may be stored: short, and without what is no text; None for an empty one."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MOST_KEPT_CHARACTERS]) or None


def _length(headers: Mapping[str, str]) -> int | None:
    """Returns the size of the body that the host announces; None if it does not."""
    text = headers.get("Content-Length", "").strip()
    return int(text) if _LENGTH.fullmatch(text) and "Transfer-Encoding" not in headers else None
