"""Describes what a reader reads from, and what it returns."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from exporter.contract import Instant, TimestampStyle
from exporter.encode.rows import EncodeRow
from exporter.errors import UnusableAnswerError
from exporter.fetch.wire.answer import Answer, Presence
from exporter.model import Page, PageRequest
from exporter.pipeline.memory import Room

T = TypeVar("T")


class Source(Protocol):
    """Serves pages, with one attempt a call. `style` is how the server writes its timestamps."""

    style: TimestampStyle

    @property
    def is_reached(self) -> bool:
        """Returns whether the server has ever accepted a connection."""

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer: ...

    async def look_up(self, identity: str) -> Presence: ...

    async def get_one(self, identity: str, fits: Callable[[int], bool]) -> Answer | Presence: ...

    async def get_object(
        self, path: str, parameters: Mapping[str, str], fits: Callable[[int], bool]
    ) -> Answer | Presence: ...


_object: Final = msgspec.json.Decoder(dict[str, Any])
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def names_in(body: bytes) -> frozenset[str]:
    """Returns the names of the members of a JSON object. Raises `UnusableAnswerError`."""
    return frozenset(_decoded(_members, body))


def object_in(body: bytes) -> dict[str, Any]:
    """Returns a JSON object. Raises `UnusableAnswerError`."""
    return _decoded(_object, body)


def _decoded(decoder: msgspec.json.Decoder[dict[str, T]], body: bytes) -> dict[str, T]:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnusableAnswerError(f"the answer ({len(body)} bytes) is cut short or is not JSON. Ask again") from error


class PageReading(msgspec.Struct, frozen=True):
    """Holds a page, and an instant of the server's clock at or before which it had not been read yet.

    `room` must be released together with the page.
    """

    page: Page[EncodeRow]
    read_since: Instant
    room: Room
