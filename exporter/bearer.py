"""Holds the token that requests carry, and reads it again from where it is kept once the API has refused it."""

import re
import string
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from time import monotonic
from typing import Final, TypeAlias

import msgspec

from exporter.contract import PERSONAL_TOKEN_PREFIX, TOKEN_VARIABLE, Instant
from exporter.errors import UsageError

#: Reads the token, maybe for many seconds, but not for long after `stopped` is set. Raises `UsageError`.
ReadToken: TypeAlias = Callable[[threading.Event], str]
#: The former tokens that are kept out of messages, because a late answer may repeat one.
_FORMER_TOKENS: Final = 16
#: Fewer characters in a row that a text shares with a token tell nothing of it.
_TELLING_CHARACTERS: Final = 12
#: A character, which may be percent-encoded, more than once also.
_CHARACTER: Final = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})|.", re.DOTALL)
#: Unlike `str.lower`, this keeps the number of characters.
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
#: While the API goes on to refuse it, a token is read again no sooner than this after another one was found, ...
_AFTER_ANOTHER_SECONDS: Final = 30.0
#: ... and this after none was. The next one may come some seconds after the last one has died.
_AFTER_NONE_SECONDS: Final = 2.0


class TokenPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Says where another process finds the token: in a `variable`, unless a private `file` or a `command` is named."""

    variable: str = TOKEN_VARIABLE
    file: str | None = None
    command: tuple[str, ...] | None = None


class TokenSource(msgspec.Struct, frozen=True):
    """Tells where the token is kept, as messages name it, and how it is read again, if it may have changed. `place` is
    None if no other process could find it."""

    named: str = f"{TOKEN_VARIABLE} or --token-file"
    read: ReadToken | None = None
    place: TokenPlace | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """Tells what one request was sent with: a token, after this many readings of it. Its `repr` does not show the
    token."""

    token: str = field(repr=False)
    readings: int


class Bearer:
    """Holds the token in use. `expires_at` is when its use ends, if the API has told.

    The `findings` of the latest reading say why it brought no other token.
    """

    def __init__(self, token: str, source: TokenSource | None = None, clock: Callable[[], float] = monotonic) -> None:
        self.source: Final = source or TokenSource()
        self.expires_at: Instant | None = None
        self.findings = ""
        self._tokens = [token]
        self._readings = 0
        self._clock = clock
        self._rests_until = 0.0
        self._turn = threading.Lock()

    @property
    def token(self) -> str:
        return self._tokens[-1]

    @property
    def is_personal(self) -> bool:
        """Returns whether the token is one of a person, who may belong to several organizations."""
        return self.token.startswith(PERSONAL_TOKEN_PREFIX)

    def use(self) -> Use:
        """Returns what a request that is sent now is sent with."""
        return Use(self.token, self._readings)

    def hidden(self, text: str) -> str:
        """Returns a text without what it shares with the token, or with one before it, in whatever case, and also
        percent-encoded or in base64."""
        found = [*_CHARACTER.finditer(text)]
        plain = _decoded(found).translate(_LOWER)
        runs = {run for token in self._tokens for run in _telling_runs(token)}
        is_token = [False] * len(found)
        for size in {len(run) for run in runs}:
            for start in range(len(plain) - size + 1):
                if plain[start : start + size] in runs:
                    is_token[start : start + size] = [True] * size
        parts = groupby(zip(is_token, found, strict=True), key=lambda each: each[0])
        return "".join("(token)" if hides else "".join(each[0] for _, each in part) for hides, part in parts)

    def accept(self, use: Use) -> None:
        """Takes note that the API has accepted what a request was sent with: should it be refused later, that is
        news."""
        if use == self.use():
            self._rests_until = 0.0

    def renew(self, refused: Use, stopped: threading.Event) -> bool:
        """Returns whether there is another token than the one that the API has refused, read now if need be. Blocks,
        but not for long after `stopped` is set.

        All requests that were sent before a reading began share what it found, however many of them are refused. While
        what it found is refused also, the next reading has to wait: each may run a command that asks a vault.
        """
        with self._turn:
            is_news = self.token == refused.token and self._readings == refused.readings
            if self.source.read and is_news and self._clock() >= self._rests_until:
                self._readings += 1
                self._read(self.source.read, stopped)
                is_other = self.token != refused.token
                self._rests_until = self._clock() + (_AFTER_ANOTHER_SECONDS if is_other else _AFTER_NONE_SECONDS)
            elif self.source.read and is_news:
                self.findings = self.findings or f"{self.source.named} gave that token only just now"
        return self.token != refused.token

    def _read(self, read: ReadToken, stopped: threading.Event) -> None:
        try:
            token = read(stopped)
        except UsageError as error:
            self.findings = f"reading the token again failed: {error}"
            return
        if token == self.token:
            self.findings = f"{self.source.named} still gives the same token"
            return
        # The end of one token says nothing about the next.
        self.findings, self.expires_at = "", None
        self._tokens = [*self._tokens[-_FORMER_TOKENS:], token]


def _decoded(characters: Iterable[re.Match[str]]) -> str:
    return "".join(chr(int(each[1], 16)) if each[1] else each[0] for each in characters)


def _telling_runs(token: str) -> Iterator[str]:
    """Yields, in small letters, the runs of characters of which each tells something of the token; a short token is one
    run itself."""
    content = token.encode()
    # A text with a percent sign is decoded, whether or not it was encoded.
    forms = [_decoded(_CHARACTER.finditer(token))] if token else []
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            # Bits of what stands before and behind the token are in the characters at its ends.
            encoded = encode(bytes(before) + content).decode().rstrip("=")
            form = encoded[before + (before > 0) : -1]
            forms += [form] if len(form) >= _TELLING_CHARACTERS else []
    for form in forms:
        size = min(len(form), _TELLING_CHARACTERS)
        yield from (form[start : start + size].translate(_LOWER) for start in range(len(form) - size + 1))
