"""Finds duplicate keys, which strict decoding drops silently (the last one wins).

A page counts as decoded only if it holds as many keys as its rows show. Most servers write JSON as short as possible:
then the page is exactly as long as its rows take at least, and has no room for more. Otherwise the keys must be
counted. Those inside JSON fields do not count, because these keep their text. So the texts of JSON fields are cut out,
and the keys of the rest are counted.
"""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import pyarrow as pa
from msgspec import UNSET, Raw

from exporter.encode.columns import Columns
from exporter.encode.rows import Agent, ServedRow
from exporter.encode.shortest import count_escapes, least_size

_SPACED_KEY: Final = re.compile(rb'"[ \t\r\n]++:')
_STRING_OR_KEY: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+(:?)', re.DOTALL)


def has_hidden_keys(
    body: bytes | memoryview, rows: Sequence[ServedRow], values: Mapping[str, Sequence[Any]], columns: Columns
) -> bool:
    """Returns whether a row, or its agent, was served with a key that the decoded row does not show.

    `rows` are all rows of `body`, of one class; `values` and `columns` are as in `least_size`. Also returns True if
    this cannot be decided.
    """
    # No JSON of the same values is shorter, so one more key would show.
    least, texts = least_size(rows, values, columns)
    if least == len(body) or least + count_escapes(texts) == len(body):
        return False
    shown, opaque, agents = _count_shown(rows)
    shown_in_agents, opaque_in_agents, _ = _count_shown(agents)
    shown += shown_in_agents
    skeleton = _cut_out(body, opaque + opaque_in_agents)
    if skeleton is None:
        return True
    # Every key except a spaced one ends like this, and some strings contain it: if it appears only as often as keys are
    # shown, there are no other keys.
    if skeleton.count(b'":') == shown and _SPACED_KEY.search(skeleton) is None:
        return False
    return _STRING_OR_KEY.findall(skeleton).count(b":") != shown


def _count_shown(holders: Sequence[ServedRow | Agent]) -> tuple[int, list[Raw], list[Agent]]:
    """Returns how many members these objects of one class show, and which of the values are opaque or agents."""
    if not holders:
        return 0, [], []
    shown = 0
    opaque: list[Raw] = []
    agents: list[Agent] = []
    kind = type(holders[0])
    for name in kind.__struct_fields__:
        values: list[Any] = [value for value in map(attrgetter(name), holders) if value is not UNSET]
        shown += len(values)
        if name in kind.opaque:
            opaque += values
        elif name == "agent":
            agents = [value for value in values if value is not None]
    return shown, opaque, agents


def _cut_out(body: bytes | memoryview, opaque: Sequence[Raw]) -> bytes | None:
    """Returns the body without the texts of these values, which lie inside it; None if one does not."""
    start = pa.py_buffer(body).address
    spans = sorted((buffer.address - start, buffer.size) for buffer in map(pa.py_buffer, opaque))
    pieces: list[bytes | memoryview] = []
    position = 0
    for offset, size in spans:
        if offset < position:
            return None
        pieces.append(body[position:offset])
        position = offset + size
    if position > len(body):
        return None
    pieces.append(body[position:])
    return b"".join(pieces)
