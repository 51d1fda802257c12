"""Reads the header `Range` (RFC 9110, 14) for files of a known size. Pure."""

import re
from typing import Final

_ONE: Final = re.compile(r"bytes\s*=\s*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\s*", re.ASCII | re.IGNORECASE)


def range_of(header: str | None, size: int) -> range | None:
    """Returns the bytes that a request is for; empty if there are none of them; None for all.

    What is no single range of bytes is ignored, as a server may.
    """
    match = None if header is None else _ONE.fullmatch(header.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return range(max(0, size - int(suffix)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)
