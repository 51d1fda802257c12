"""Packs a column of a checkpoint into one text, which is taken up at a small part of what its values would cost. Pure.

Integers become little-endian ones of 1, 2, 4 or 8 bytes, whichever hold them all, in base64 behind a letter for their
size: `b`, `h`, `i` or `q`. Texts have an end of line between two of them. Other columns stay lists.
"""

import sys
from array import array
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, overload

_BITS: Final = {"b": 7, "h": 15, "i": 31, "q": 63}
_END: Final = "\n"


class Texts(Sequence[str]):
    """Holds texts as one, until somebody asks for any of them."""

    def __init__(self, joined: str) -> None:
        self.joined: Final = joined
        self._count: Final = joined.count(_END) + 1

    @cached_property
    def _texts(self) -> list[str]:
        return self.joined.split(_END)

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> str | list[str]:
        return self._texts[position]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


def pack(values: Sequence[Any]) -> str | list[Any]:
    """Returns what `texts_of` or `integers_of` takes."""
    if isinstance(values, Texts):
        return values.joined
    if isinstance(values, array):
        return values.typecode + _in_base64(values)
    if values and all(type(value) is int for value in values):
        bits = max(_bits(min(values)), _bits(max(values)))
        code = next((code for code, most in _BITS.items() if bits <= most), None)
        return [*values] if code is None else code + _in_base64(array(code, values))
    if values and all(type(value) is str and _END not in value for value in values):
        return _END.join(values)
    return [*values]


def texts_of(packed: str | list[str]) -> Sequence[str]:
    """Returns the texts that were packed."""
    return Texts(packed) if isinstance(packed, str) else packed


def integers_of(packed: str | list[Any]) -> Sequence[Any]:
    """Returns the integers that were packed. Raises `ValueError` for what `pack` never returns."""
    if isinstance(packed, list):
        return packed
    if packed[:1] not in _BITS:
        raise ValueError(f"integers of the size {packed[:1]!r}")
    values = array(packed[:1])
    values.frombytes(a2b_base64(packed[1:]))
    return _little_endian(values)


def _in_base64(values: "array[int]") -> str:
    return b2a_base64(_little_endian(values).tobytes(), newline=False).decode()


def _little_endian(values: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values


def _bits(value: int) -> int:
    """Returns how many bits a value takes beside its sign."""
    return (value if value >= 0 else ~value).bit_length()
