"""Makes the keyed tags by which an erasure finds the row of somebody that is withheld: it shows no value any more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from exporter.encode.protect.checks import ascii_digits
from exporter.encode.schema import as_columns
from exporter.keys import Key

#: The members of a withheld row that stand for its text and for its values.
WITHHELD: Final = "withheld"
TAGS: Final = "tags"
#: A row with more values than this gets no tags, and neither does one that cannot be read: only its id finds it.
_MOST_VALUES: Final = 256
_UNTAGGED: Final = ("id", "created_at", "updated_at", "conversation")
_PURPOSE: Final = "withheld value"
#: Half of a keyed hash tells the values of one export apart.
_TAG_DIGITS: Final = 16
_ELEMENT: Final = "[*]"
_DEEP: Final = "**"
_LEAST_DIGITS: Final = 6

#: The steps from a column to a value, with `[*]` for each element of an array.
Place = tuple[str, ...]


def has_tags(column: str) -> bool:
    """Returns whether the values of a column are tagged. Those of the transcript are too many."""
    return column not in _UNTAGGED


def is_withheld(row: Mapping[str, Any]) -> bool:
    """Returns whether a row in quarantine stands for one that is withheld."""
    return row.keys() <= {"created_at", "updated_at", WITHHELD, TAGS} and WITHHELD in row


def tags_in(row: Mapping[str, Any]) -> frozenset[str] | None:
    """Returns the tags of a withheld row; None if it has none, and so does not tell whose it is."""
    tags = row.get(TAGS)
    return frozenset(map(str, tags)) if isinstance(tags, list) else None


def tag_of(key: Key, steps: Sequence[str], value: str, *, digits: bool = False) -> str:
    """Returns the tag of a value at the end of these steps, or of its digits.

    A tag does not follow `*` and `**`: with one of them, it is that of the value anywhere in its column.
    """
    column, *inside = (_ELEMENT if step.startswith("[") else step for step in steps)
    place = [column, _DEEP] if {"*", _DEEP} & {*inside} else [column, *inside]
    text = msgspec.json.encode([digits, place, value]).decode()
    return key.tag(_PURPOSE, text)[:_TAG_DIGITS]


def tags_of(served: bytes, key: Key, stored: Callable[[Place, str], str | None]) -> list[str] | None:
    """Returns the tags of the values of a row, given as it was served; None if they cannot be told.

    `stored` makes of a value what would be stored of it; None if a rule changes it so that it tells nobody apart.
    """
    try:
        row = msgspec.json.decode(served)
        leaves = [] if not isinstance(row, dict) else list(_leaves_of(row))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    if len(leaves) > _MOST_VALUES:
        return None
    tags = set[str]()
    for place, value in leaves:
        places = [place] if len(place) == 1 else [place, (place[0], _DEEP)]
        if (kept := stored(place, value)) is None:
            continue
        tags.update(tag_of(key, one, kept) for one in places)
        if kept == value and len(digits := ascii_digits(value)) >= _LEAST_DIGITS:
            tags.update(tag_of(key, one, digits, digits=True) for one in places)
    return sorted(tags)


def _leaves_of(row: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    for column, value in as_columns(row).items():
        if has_tags(column):
            yield from _leaves((column,), value)


def _leaves(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from _leaves((*place, name), inside)
    elif isinstance(value, list):
        for element in value:
            yield from _leaves((*place, _ELEMENT), element)
    elif isinstance(value, str):
        yield place, value
        if value.lstrip()[:1] in ("{", "["):
            # Some sources put JSON into a text of JSON, and an erasure looks inside of it.
            with suppress(msgspec.MsgspecError):
                yield from _leaves(place, msgspec.json.decode(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, str(value)
