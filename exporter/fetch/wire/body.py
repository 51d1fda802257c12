"""Turns bodies as they come over the wire into the JSON that was meant: unpacked, in UTF-8, without padding. Pure."""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeAlias

import msgspec

from exporter.huge import join

#: The most that a packed body is unpacked by between two looks at its size.
_PIECE_BYTES: Final = 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WBITS: Final = 31
_ZLIB_WBITS: Final = 15
_SPACE: Final = b" \t\r\n"
#: The most space before the text, which takes no room: servers that keep a slow question alive send it until they have
#: an answer. A body with more is a bomb.
_MOST_PADDING_BYTES: Final = 1_500_000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: Charsets that JSON may be in besides UTF-8, if only by custom. UTF-16 and UTF-32 can be detected.
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?(iso-8859-\d+|latin-?1|windows-125\d)\b", re.IGNORECASE | re.ASCII)
_OPENS: Final = {"array": re.compile(rb"[ \t\r\n]*+\["), "object": re.compile(rb"[ \t\r\n]*+\{")}
_MOST_KEYS: Final = 8
_MOST_KEY_CHARACTERS: Final = 30
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_AS_IT_IS: Final = frozenset({"", "identity", "none"})


def codings_of(headers: Iterable[str]) -> list[str]:
    """Returns what was done to a body, in this order, by the values of its `Content-Encoding` headers."""
    return [name for name in map(str.strip, ",".join(headers).lower().split(",")) if name not in _AS_IT_IS]


class _Unpacker(Protocol):
    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yields `data` unpacked, at most `_PIECE_BYTES` at once: a little may hold gigabytes. Raises `zlib.error`."""

    @property
    def is_complete(self) -> bool: ...


class _Gunzip:
    """Unpacks gzip, of which members may follow one another.

    Padding after a whole member, and anything that is no member, is left out, as gzip itself does.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=_GZIP_WBITS)
        self._is_over = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data and not self._is_over:
            if self._member.eof:
                data = data.lstrip(b"\0")
                self._is_over = not _GZIP_MAGIC.startswith(data[:2])
                if self._is_over or not data:
                    return
                self._member = zlib.decompressobj(wbits=_GZIP_WBITS)
            yield self._member.decompress(data, _PIECE_BYTES)
            data = self._member.unused_data or self._member.unconsumed_tail

    @property
    def is_complete(self) -> bool:
        return self._member.eof


class _Inflate:
    """Unpacks `deflate`, which is zlib's format by the standard, and the bare one by custom."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data and not self.is_complete:
            if self._stream is None:
                # zlib's first byte ends like this, and a bare stream's hardly ever does.
                self._stream = zlib.decompressobj(wbits=_ZLIB_WBITS if data[0] & 0x0F == 8 else -_ZLIB_WBITS)
            yield self._stream.decompress(data, _PIECE_BYTES)
            data = self._stream.unconsumed_tail

    @property
    def is_complete(self) -> bool:
        return self._stream is not None and self._stream.eof


_UNPACKERS: Final[dict[str, type[_Gunzip] | type[_Inflate]]] = {
    "gzip": _Gunzip,
    "x-gzip": _Gunzip,
    "deflate": _Inflate,
}
_KINDS: Final = {b"{": "a JSON object", b"[": "a JSON array", b'"': "a JSON string", b"n": "the JSON value null"}
_Pieces: TypeAlias = Iterable[bytes]


class Body:
    """Collects a body. `codings` are those of `Content-Encoding`, in the order in which they were applied.

    A coding that is not known leaves the body as it is: some servers name a charset there.
    """

    def __init__(self, codings: Iterable[str], content_type: str = "") -> None:
        self._unpackers: list[_Unpacker] = [_UNPACKERS[coding]() for coding in codings if coding in _UNPACKERS]
        self._unpackers.reverse()
        charset = _CHARSET.search(content_type)
        self._charset = charset[1] if charset else None
        # They are joined once: a buffer that grows as they come is copied many times over.
        self._pieces: list[bytes | memoryview] = []
        self._size_bytes = 0
        self._padding_bytes = 0

    def take(self, data: bytes) -> Iterator[int]:
        """Adds `data`. Yields how large the body is about to be, before it grows. Raises `zlib.error`."""
        for piece in self._unpacked(data):
            fresh = piece if self._size_bytes else piece.lstrip(_SPACE).removeprefix(_BYTE_ORDER_MARK)
            self._padding_bytes += len(piece) - len(fresh)
            yield self._size_bytes + len(fresh)
            self._size_bytes += len(fresh)
            self._pieces.append(fresh)

    @property
    def is_padded(self) -> bool:
        """Returns whether the body begins with more space than there is good reason to send."""
        return self._padding_bytes > _MOST_PADDING_BYTES

    @property
    def is_packed(self) -> bool:
        return bool(self._unpackers)

    @property
    def is_complete(self) -> bool:
        """Returns whether nothing that was packed is missing."""
        return all(unpacker.is_complete for unpacker in self._unpackers)

    def text(self) -> bytes | memoryview:
        """Returns the body, in UTF-8 where it is text of a known charset."""
        content = join(self._pieces, list(map(len, self._pieces)))
        # Only one body at a time is there twice.
        self._pieces = [content]
        encoding: str = json.detect_encoding(bytes(content[:4]))
        if encoding == "utf-8" and self._charset and not _is_utf8(content):
            encoding = self._charset
        if encoding == "utf-8":
            return content
        try:
            return str(content, encoding).removeprefix("\ufeff").encode()
        except UnicodeError:
            return content

    def _unpacked(self, data: bytes) -> _Pieces:
        pieces: _Pieces = (data,)
        for unpacker in self._unpackers:
            pieces = _each(unpacker, pieces)
        return pieces


def begins_like(what: str, text: bytes | memoryview) -> bool:
    """Returns whether `text` begins like a JSON `array`, or `object`, as `what` names it."""
    return _OPENS[what].match(text) is not None


def described(text: bytes, codings: Iterable[str], content_type: str) -> str:
    """Describes in a few words a body that is not what was asked for."""
    if not text.strip():
        return "nothing"
    if unknown := [coding for coding in codings if coding not in _UNPACKERS]:
        return f"the encoding {', '.join(unknown)}, which was not asked for,"
    if text.startswith(_GZIP_MAGIC):
        return "gzip, which no Content-Encoding announces,"
    if text[:1] in _KINDS:
        try:
            keys = [key[:_MOST_KEY_CHARACTERS] for key in _members.decode(text)] if text[:1] == b"{" else []
        except msgspec.MsgspecError:
            keys = []
        more = ", …" if len(keys) > _MOST_KEYS else ""
        return _KINDS[text[:1]] + (f" of {', '.join(keys[:_MOST_KEYS])}{more}" if keys else "")
    return content_type.partition(";")[0].strip() or "no content type"


def _each(unpacker: _Unpacker, pieces: _Pieces) -> Iterator[bytes]:
    for piece in pieces:
        yield from unpacker.pieces(piece)


def _is_utf8(content: bytes | memoryview) -> bool:
    try:
        str(content, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
