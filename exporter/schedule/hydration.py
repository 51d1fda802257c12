"""Decides which fields the list leaves out though ids bring them, and how rows are cut to be completed. Pure.

A field that no row of the list has may be withheld, may be null in a list that leaves out what is null, or may be
served by id alone (source.md, 13). A few rows that are asked for by their ids tell these apart.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from exporter.contract import ALWAYS_FIELDS, FIELDS, OPEN_STATUSES, Instant

_SENSITIVE: Final = frozenset(field.name for field in FIELDS if field.sensitive)

#: The fields that one row was served with: whether each has a value. A field that is absent is not named.
Served: TypeAlias = Mapping[str, bool]


class Look(msgspec.Struct, frozen=True):
    """Holds what a row was served with `by_id`; `is_over` says that its conversation has ended."""

    by_id: Served
    is_over: bool


def askable(fields: Collection[str] | None) -> frozenset[str]:
    """Returns the documented fields that may be asked for by id, of those that are wanted (None: all)."""
    return frozenset(
        field.name for field in FIELDS if field.name not in ALWAYS_FIELDS and (fields is None or field.name in fields)
    )


def left_out(wanted: Collection[str], listed: Iterable[Served]) -> frozenset[str]:
    """Returns the fields that none of the listed rows has."""
    return frozenset(wanted).difference(*listed)


def is_over(status: object) -> bool:
    """Returns whether a conversation of this status has ended, so that it has a transcript if it ever will."""
    return isinstance(status, str) and status not in OPEN_STATUSES


def sample(statuses: Sequence[object]) -> list[int]:
    """Returns the positions of all rows in the order in which they are worth asking for: those that are over first,
    from the middle of the page outwards, because the newest may still be without a summary."""
    middle = len(statuses) // 2
    return sorted(range(len(statuses)), key=lambda position: (not is_over(statuses[position]), abs(position - middle)))


def decide(
    wanted: Collection[str], listed: Sequence[Served], looks: Sequence[Look], known: Collection[str] = ()
) -> frozenset[str]:
    """Returns the fields to ask for by id.

    `listed` are rows as the list served them, and `looks` some of them as their ids did. `known` are fields that
    earlier runs have found by id: they are believed to be there, unless conversations that are over come without any
    sensitive field, because the token no longer sees them.
    """
    absent = left_out(wanted, listed)
    shows_null = any(not has_value for row in listed for has_value in row.values())
    found = {
        name
        for look in looks
        for name, has_value in look.by_id.items()
        # A list that leaves out what is null also lacks a field that is served as null by id.
        if name in absent and (has_value or shows_null)
    }
    is_blind = any(look.is_over for look in looks) and not any(look.by_id.keys() & _SENSITIVE for look in looks)
    kept = {name for name in known if name in absent and not (is_blind and name in _SENSITIVE)}
    return frozenset(found | kept)


def piece_end(times: Sequence[Instant], most_rows: int) -> int:
    """Returns how many of the rows, which run from new to old, to complete at once: `most_rows`, at least 1, or as many
    more or fewer as it takes for the cut not to fall inside one time."""
    if most_rows >= len(times):
        return len(times)
    end = most_rows
    while end and times[end - 1] == times[end]:
        end -= 1
    if end:
        return end
    return next((position for position, time in enumerate(times) if time != times[0]), len(times))
