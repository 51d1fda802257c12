"""Encodes what a run and the process that gives it its turns say to each other: a JSON object a line. Pure.

A run joins, again whenever its token has changed, and then asks for one turn at a time. Each ask has a number of the
run's own, by which the turn is given or denied, given back or settled. No message holds a token, or anything of a
conversation.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec

from exporter.fetch.pace.quota import Quota

#: The variable that names the descriptor of the connection. It is private to `exporter run` and its children.
TURNS_VARIABLE: Final = "_EXPORTER_TURNS"
MessageT = TypeVar("MessageT")
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]

#: What a server has said, at the most, so that its line is not too long.
MOST_REASON_CHARACTERS: Final = 500
_MOST_LINE_BYTES: Final = 4096
_DIGEST_DIGITS: Final = 16


class TurnMessageError(ValueError):
    """Says that a peer has sent something that is not a message."""


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="is", tag=str.lower):
    """Is one line between a run and the process that gives it its turns."""


class Join(Message, frozen=True):
    """Says whom a run asks: `token` is a digest, so that equal tokens can share a throttle without being known."""

    origin: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    token: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{_DIGEST_DIGITS}}}$")]
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    max_rps: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Ask(Message, frozen=True):
    """Asks for a turn."""

    number: Number


class Withdraw(Message, frozen=True):
    """Says that the turn is not needed, whether or not it has been given."""

    number: Number


class Passed(Message, frozen=True):
    """Says that the request of this turn was let through, and the quota that its answer stated."""

    number: Number
    quota: Quota | None = None


class Refused(Message, frozen=True):
    """Says that the request of this turn was refused: too fast, or too early."""

    number: Number
    status: int
    retry_after_seconds: Seconds | None = None
    reason: Annotated[str, msgspec.Meta(max_length=MOST_REASON_CHARACTERS)] = ""


class PageTook(Message, frozen=True):
    """Says how long a page took, from sending the request to having decoded it."""

    seconds: Seconds


class Turn(Message, frozen=True):
    """Gives the turn that was asked for, and says how many workers of the run can now use turns."""

    number: Number
    workers: Annotated[int, msgspec.Meta(ge=1)]


class Denied(Message, frozen=True):
    """Says that there will be no turn: the server wants to be left alone for longer than a run waits, for `reason`."""

    number: Number
    status: int
    retry_after_seconds: Seconds
    reason: str


ToRun: TypeAlias = Turn | Denied
FromRun: TypeAlias = Join | Ask | Withdraw | Passed | Refused | PageTook


def digest_of(token: str) -> str:
    """Returns what stands for a token: the same for equal ones, and nothing that leads back to one."""
    return sha256(token.encode()).hexdigest()[:_DIGEST_DIGITS]


def encode(message: Message) -> bytes:
    """Returns a message as a line."""
    return msgspec.json.encode(message) + b"\n"


class MessageDecoder(Generic[MessageT]):
    """Takes messages of a type out of bytes, wherever these are cut."""

    def __init__(self, kind: type[MessageT]) -> None:
        self._decoder: Final = msgspec.json.Decoder(kind)
        self._rest = b""

    def decode(self, received: bytes) -> Iterator[MessageT]:
        """Yields the messages that are now whole. Raises `TurnMessageError`."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            try:
                yield self._decoder.decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                raise TurnMessageError("not a message about turns") from error
        if len(self._rest) > _MOST_LINE_BYTES:
            raise TurnMessageError("a message without an end")
