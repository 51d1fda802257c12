"""Decides how a page goes out: it may end early, be empty, or hold elements that are not rows (source.md, 4 and 14)."""

import random
from typing import Final

import msgspec

from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.rows import Row

#: An array of conversations has no place for these JSON values.
ODD_ELEMENTS: Final = (b"null", b"17", b'"conversation"', b"[]", b"{}", b"true")


def cut_at_random(rows: list[Row], behaviour: Behaviour, rng: random.Random) -> list[Row]:
    """Returns the rows of a page that are left after a random cut, if there is one."""
    if behaviour.empty_pages and rng.random() < behaviour.empty_pages:
        return []
    if behaviour.short_pages and rows and rng.random() < behaviour.short_pages:
        return rows[: rng.randint(1, len(rows))]
    return rows


def page_of(texts: list[bytes], limit: int, behaviour: Behaviour, rng: random.Random) -> bytes:
    """Returns the JSON array of as many rows as `page_bytes` allows, sometimes with an element that is not a row.

    Such an element counts towards `limit`: on a full page it takes the place of the last row, except of the only one.
    """
    if behaviour.page_bytes is not None:
        texts = _clamp(texts, behaviour.page_bytes)
    if behaviour.odd_elements and limit > 1 and rng.random() < behaviour.odd_elements:
        texts = texts[: limit - 1]
        place = rng.randint(0, len(texts))
        texts = [*texts[:place], rng.choice(ODD_ELEMENTS), *texts[place:]]
    return b"[" + b",".join(texts) + b"]"


def count_rows(body: bytes) -> int | None:
    """Returns how many elements a page has, 1 for a conversation by itself, or None for what is neither."""
    try:
        value = msgspec.json.decode(body, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return None
    return len(value) if isinstance(value, list) else 1 if "created_at" in value else None


def _clamp(texts: list[bytes], max_bytes: int) -> list[bytes]:
    """Returns as many texts as fit, and at least one."""
    size = 0
    for position, text in enumerate(texts):
        size += len(text)
        if size > max_bytes and position:
            return texts[:position]
    return texts
