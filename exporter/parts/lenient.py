"""Decodes JSON of any kind, so that nobody is passed over because a text is not quite JSON. Pure.

Strict JSON comes as usual. What only lenient readers take (NaN, numbers of any length, names given twice, half of a
character) comes with each number as its text, and each object as `Members`. What nobody takes comes as `Literals`.
"""

import json
import re
from typing import Any, Final

import msgspec

_LITERAL: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(-?\d[\d.eE+-]*)', re.DOTALL)
_NAME: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:', re.DOTALL)


class Members(tuple[tuple[str, Any], ...]):
    """Holds all members of an object, in their order, also those whose names are there twice."""


class Literals(tuple[str, ...]):
    """Holds every text and number in what cannot be decoded, wherever it lies."""


def decode(text: str | bytes | msgspec.Raw) -> Any:
    """Returns the value of a text; it never fails."""
    plain = bytes(text).decode(errors="replace") if isinstance(text, bytes | msgspec.Raw) else text
    try:
        value = msgspec.json.decode(plain)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return _decode_leniently(plain)
    # Of two members with one name, a strict decoder shows the last alone.
    names = _NAME.findall(plain)
    return value if len(set(names)) == len(names) or not _has_twins(plain) else _decode_leniently(plain)


def _has_twins(text: str) -> bool:
    found = False

    def note(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found |= len({name for name, _ in pairs}) < len(pairs)

    try:
        json.loads(text, object_pairs_hook=note, parse_int=str, strict=False)
    except (RecursionError, ValueError):
        return True
    return found


def _decode_leniently(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=Members, parse_int=str, parse_float=str, parse_constant=str, strict=False
        )
    except (RecursionError, ValueError):
        return Literals(_unescaped(quoted) or number for quoted, number in _LITERAL.findall(text))


def _unescaped(quoted: str) -> str:
    try:
        value: str = json.loads(f'"{quoted}"', strict=False)
    except ValueError:
        return quoted
    return value
