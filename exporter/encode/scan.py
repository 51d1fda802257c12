"""Scans a page tolerantly: finds its rows and the members of each, without deciding what they mean.

The scanner takes what strict parsers refuse or change (nesting of any depth, lone surrogates, `NaN`, bytes that are not
UTF-8, integers of any length, duplicate keys; source.md, 11), because a row like that must not cost the other rows of
its page. It does not take a text that ends early, brackets that do not match, or anything before or after the array.
"""

import re
from typing import Final

import msgspec

_SPACE: Final = rb"[ \t\r\n]*+"
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BARE: Final = rb"(?:true|false|null|[+-]?(?i:nan|infinity|inf)|[+-]?\.?[0-9][0-9.eE+-]*+)"
#: The text between two brackets beside strings: numbers, words, commas, colons.
_BETWEEN: Final = rb"[ \t\r\n,:0-9A-Za-z.+-]*+"

_SPACES = re.compile(_SPACE)
_SCALAR = re.compile(_STRING + rb"|" + _BARE, re.DOTALL)
_KEY = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_NEXT_BRACKET = re.compile(_BETWEEN + rb"(?:" + _STRING + _BETWEEN + rb")*+([\[\]{}])", re.DOTALL)
_AFTER_ITEM = re.compile(_SPACE + rb"([,\]}])" + _SPACE)
_CLOSING: Final = {b"[": b"]", b"{": b"}"}
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class UnscannableError(ValueError):
    """Says that a text is cut short, or is not JSON even to a tolerant eye."""


class NotRowsError(ValueError):
    """Says that a text is whole, but not an array."""


class ScannedRow(msgspec.Struct, frozen=True):
    """Holds a row's text, and the texts of its keys (with their quotes) and values, in the order served.

    `members` is None for an element that is not an object.
    """

    text: bytes
    members: list[tuple[bytes, bytes]] | None


def scan_page(body: bytes) -> list[ScannedRow]:
    """Returns the rows of a page. Raises `UnscannableError` or `NotRowsError`."""
    start = _skip_space(body, len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0)
    if not body.startswith(b"[", start):
        _expect_end(body, _value_end(body, start))
        raise NotRowsError("not an array")
    rows: list[ScannedRow] = []
    position = _skip_space(body, start + 1)
    more = not body.startswith(b"]", position)
    if not more:
        position += 1
    while more:
        if body.startswith(b"{", position):
            members, end = _scan_members(body, position)
            rows.append(ScannedRow(body[position:end], members))
        else:
            end = _value_end(body, position)
            rows.append(ScannedRow(body[position:end], None))
        position, more = _after_item(body, end, b"]")
    _expect_end(body, position)
    return rows


def scan_object(text: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the members of an object that a scan has found."""
    return _scan_members(text, 0)[0]


def scan_array(text: bytes) -> list[bytes]:
    """Returns the texts of the values of an array that a scan has found."""
    values: list[bytes] = []
    position = _skip_space(text, 1)
    more = not text.startswith(b"]", position)
    while more:
        end = _value_end(text, position)
        values.append(text[position:end])
        position, more = _after_item(text, end, b"]")
    return values


def _scan_members(body: bytes, start: int) -> tuple[list[tuple[bytes, bytes]], int]:
    members: list[tuple[bytes, bytes]] = []
    position = _skip_space(body, start + 1)
    if body.startswith(b"}", position):
        return members, position + 1
    more = True
    while more:
        key = _KEY.match(body, position)
        if key is None:
            raise UnscannableError("no key where there must be one")
        end = _value_end(body, key.end())
        members.append((key.group(1), body[key.end() : end]))
        position, more = _after_item(body, end, b"}")
    return members, position


def _value_end(body: bytes, start: int) -> int:
    if body[start : start + 1] not in _CLOSING:
        scalar = _SCALAR.match(body, start)
        if scalar is None:
            raise UnscannableError("no value where there must be one")
        return scalar.end()
    open_brackets: list[bytes] = []
    position = start
    while True:
        bracket = _NEXT_BRACKET.match(body, position)
        if bracket is None:
            raise UnscannableError("a bracket is never closed")
        position = bracket.end()
        if bracket[1] in _CLOSING:
            open_brackets.append(_CLOSING[bracket[1]])
        elif bracket[1] != open_brackets.pop():
            raise UnscannableError("brackets do not match")
        if not open_brackets:
            return position


def _after_item(body: bytes, position: int, closing: bytes) -> tuple[int, bool]:
    """Returns the position after the comma or closing bracket that follows an item, and whether it was a comma."""
    separator = _AFTER_ITEM.match(body, position)
    if separator is None or separator[1] not in (b",", closing):
        raise UnscannableError("an item is followed by neither a comma nor the end")
    if separator[1] == b",":
        return separator.end(), True
    return separator.end(1), False


def _skip_space(body: bytes, position: int) -> int:
    match = _SPACES.match(body, position)
    return match.end() if match else position


def _expect_end(body: bytes, position: int) -> None:
    if _skip_space(body, position) != len(body):
        raise UnscannableError("something follows the end")
