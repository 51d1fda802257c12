"""Says what the pages of an export are decoded to, and by what: `Decoder` is loaded when there is one to decode."""

from typing import TYPE_CHECKING, Protocol

import msgspec

from exporter.contract import Instant, TimestampStyle
from exporter.encode.rows import EncodeRow
from exporter.model import Page

if TYPE_CHECKING:
    from exporter.encode.decode import Decoder


class DecodedPage(msgspec.Struct, frozen=True):
    """Holds a page, and how its first row wrote its `created_at` (None: no row)."""

    page: Page[EncodeRow]
    style: TimestampStyle | None


class PageDecoder(Protocol):
    """Decodes pages as `Decoder` does."""

    def decode(self, body: bytes | memoryview, at: Instant | None = None) -> DecodedPage: ...


class LateDecoder:
    """Decodes pages with a `Decoder` that it makes of the first one: a run asks for that before it loads Arrow."""

    def __init__(self, fields: tuple[str, ...] | None) -> None:
        self._fields = fields
        self._decoder: Decoder | None = None

    def decode(self, body: bytes | memoryview, at: Instant | None = None) -> DecodedPage:
        """Returns the rows of a page. Raises as `Decoder.decode`."""
        from exporter.encode.decode import Decoder

        if self._decoder is None:
            self._decoder = Decoder(self._fields)
        return self._decoder.decode(body, at)
