"""Holds the token that requests carry, and reads it again from where it is kept once the API has refused it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from exporter.contract import PERSONAL_TOKEN_PREFIX, TOKEN_VARIABLE, Instant
from exporter.errors import UsageError

#: Reads the token, maybe for many seconds, but not for long after `stopped` is set. Raises `UsageError`.
ReadToken: TypeAlias = Callable[[threading.Event], str]
#: The former tokens that are kept out of messages, because a late answer may repeat one.
_FORMER_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Tells where the token is kept, as messages name it, and how it is read again, if it may have changed."""

    named: str = f"{TOKEN_VARIABLE} or --token-file"
    read: ReadToken | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """Tells what one request was sent with: a token, after so many readings of it. Its `repr` does not show the
    token."""

    token: str = field(repr=False)
    readings: int


class Bearer:
    """Holds the token in use. `expires_at` is when its use ends, if the API has told.

    The `findings` of the latest reading say why it brought no other token.
    """

    def __init__(self, token: str, source: TokenSource | None = None) -> None:
        self.source: Final = source or TokenSource()
        self.expires_at: Instant | None = None
        self.findings = ""
        self._tokens = [token]
        self._readings = 0
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
        """Returns a text without the token, and without those before it."""
        # One may begin like another one.
        for token in sorted(self._tokens, key=len, reverse=True):
            text = text.replace(token, "(token)")
        return text

    def renew(self, refused: Use, stopped: threading.Event) -> bool:
        """Returns whether there is another token than the one that the API has refused, read now if need be. Blocks,
        but not for long after `stopped` is set.

        All requests that were sent before a reading began share what it found, however many of them are refused.
        """
        with self._turn:
            if self.source.read and self.token == refused.token and self._readings == refused.readings:
                self._readings += 1
                self._read(self.source.read, stopped)
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
