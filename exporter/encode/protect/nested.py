"""Reads and changes all texts of a JSON value, whatever its form, and JSON that lies in a string."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from exporter.encode.protect.leaves import STRING, Edit, Found, Leaf, find_leaves
from exporter.encode.protect.paths import Routes, Target
from exporter.encode.protect.shape import REFUSALS
from exporter.encode.scan import UnscannableError
from exporter.privacy import Rule

_STRING_OR_NUMBER: Final = re.compile(STRING + rb"|-?[0-9][0-9.eE+-]*+", re.DOTALL)
_MAY_BE_JSON: Final = re.compile(r'[ \t\r\n]*[\[{"]')
_ESCAPE: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")
_QUOTE: Final = 0x22
_whole = msgspec.json.Decoder(Raw)
_strings = msgspec.json.Decoder(list[str])
#: Leads to every text of a value.
EVERY_TEXT: Final = Routes([Target("", (), Rule(action="redact", everywhere=True))])


def tokens_of(text: bytes | memoryview) -> list[bytes] | None:
    """Returns the strings, keys and numbers of a JSON text, as they are written; None if it is no strict JSON."""
    try:
        _whole.decode(text)
    except REFUSALS:
        return None
    return _STRING_OR_NUMBER.findall(text)


def texts_of_tokens(tokens: list[bytes]) -> list[str]:
    """Returns the texts that tokens stand for: first the strings, then the integers as they are written."""
    strings = [token for token in tokens if token[0] == _QUOTE]
    # A number with a fraction is left alone, as in `leaves`.
    numbers = [token.decode() for token in tokens if token[0] != _QUOTE and token.lstrip(b"-").isdigit()]
    return _strings.decode(b"[" + b",".join(strings) + b"]") + numbers


def texts_inside(text: str) -> list[str] | None:
    """Returns the texts of JSON that lies in a string, each in all of its forms. Any other text is one, except for what
    begins as JSON and cannot be read: that is None."""
    if _MAY_BE_JSON.match(text) is None:
        return [*_forms(text)]
    tokens = tokens_of(text.encode())
    if tokens is not None:
        return [form for each in texts_of_tokens(tokens) for form in _forms(each)]
    found = _scanned(text)
    if found is None or found.whole or found.edits:
        return None if "\\" in text else [text]
    return [form for leaf in found.leaves for form in _forms(leaf.text)]


def _forms(text: str) -> tuple[str, ...]:
    """Returns a text and, if it has escapes of JSON that lies deeper or behind other words, what they stand for."""
    if "\\u" not in text:
        return (text,)
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text)
    return text, plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def changed_inside(text: str, changed: Mapping[str, str]) -> str | None:
    """Returns the text with other texts inside, as `changed` says; None for what `texts_inside` cannot read."""
    texts = texts_inside(text)
    if texts is None:
        return None
    if texts[:1] == [text]:
        return _new(text, changed) or text
    leaves = find_leaves(text.encode(), EVERY_TEXT).leaves
    edits = [edit for leaf in leaves if (edit := edit_of(leaf, changed)) is not None]
    return spliced(text.encode(), edits).decode()


def edit_of(leaf: Leaf, changed: Mapping[str, str]) -> Edit | None:
    """Returns what replaces a leaf; None if it stays."""
    new = _new(leaf.text, changed)
    return None if new is None else Edit(leaf.start, leaf.end, msgspec.json.encode(new))


def _new(text: str, changed: Mapping[str, str]) -> str | None:
    return next((changed[form] for form in reversed(_forms(text)) if form in changed), None)


def spliced(text: bytes | memoryview, edits: list[Edit]) -> bytes:
    """Returns the text with edits, none of which overlap."""
    pieces: list[bytes | memoryview] = []
    position = 0
    for start, end, new in sorted(edits):
        pieces += (text[position:start], new)
        position = end
    pieces.append(text[position:])
    return b"".join(pieces)


def _scanned(text: str) -> Found | None:
    try:
        return find_leaves(text.encode(), EVERY_TEXT)
    except UnscannableError:
        return None
