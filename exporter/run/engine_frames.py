"""Encodes what a run and the process that holds its engine say to each other, in frames. Pure.

A run sends tasks, each with a number of its own, and gets for each an answer, or why there is none. It is also told
how many tasks it may have under way, again whenever that changes.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias, cast, get_args

from exporter.errors import EngineError
from exporter.run.share import MOST_BYTES

#: The variable that names the descriptor of the connection. It is private to `exporter run` and its children.
ENGINE_VARIABLE: Final = "_EXPORTER_ENGINE"
Kind: TypeAlias = Literal["task", "answer", "refusal", "slots"]

_KINDS: Final = get_args(Kind)
_NUMBER_BYTES: Final = 8
_HEAD_BYTES: Final = 1 + 2 * _NUMBER_BYTES


class Frame(NamedTuple):
    """Holds a task, an answer or a `refusal` in words, by the `number` of the task. The `number` of `slots` is theirs,
    and the content is the name of the engine."""

    kind: Kind
    number: int
    content: bytes = b""


def encode_frame(frame: Frame) -> bytes:
    """Returns a frame as bytes."""
    numbers = (frame.number, len(frame.content))
    head = b"".join(number.to_bytes(_NUMBER_BYTES) for number in numbers)
    return bytes([_KINDS.index(frame.kind)]) + head + frame.content


class FrameDecoder:
    """Takes frames out of bytes, wherever these are cut."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def decode(self, received: bytes) -> Iterator[Frame]:
        """Yields the frames that are now whole. Raises `EngineError` for what is none."""
        self._rest += received
        while len(self._rest) >= _HEAD_BYTES:
            kind, number, length = self._rest[0], self._number_at(1), self._number_at(1 + _NUMBER_BYTES)
            if kind >= len(_KINDS) or length > MOST_BYTES:
                raise EngineError("what another process of `exporter run` has sent is no message about tasks")
            end = _HEAD_BYTES + length
            if len(self._rest) < end:
                return
            content = bytes(self._rest[_HEAD_BYTES:end])
            del self._rest[:end]
            yield Frame(cast(Kind, _KINDS[kind]), number, content)

    def _number_at(self, place: int) -> int:
        return int.from_bytes(self._rest[place : place + _NUMBER_BYTES])
