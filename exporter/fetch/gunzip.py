"""Bodies that come packed. Pure."""

import zlib
from collections.abc import Iterator
from typing import Final

#: Of what a gzip body unpacks to, between two looks at its size.
_PIECE_BYTES: Final = 1024 * 1024


class Gunzip:
    """Decompresses piece by piece: a small body may hold gigabytes. Members may follow one another."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` holds. Raises `zlib.error`."""
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            yield self._member.decompress(data, _PIECE_BYTES)
            data = self._member.unused_data or self._member.unconsumed_tail

    @property
    def complete(self) -> bool:
        return self._member.eof
