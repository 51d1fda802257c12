"""Tells how fields were served: what the rows of an export came without. Pure."""

from collections.abc import Collection, Mapping

import msgspec

from exporter.contract import FIELDS
from exporter.log.manifest_files import interval_text
from exporter.log.state import State


class ServedFields(msgspec.Struct, frozen=True):
    """Says how fields were served.

    `withheld` names sensitive fields that were asked for and are in no row: this token may not see them (source.md,
    Response). `partly_withheld` are the windows of files with rows that came without any sensitive field, while other
    rows had them: the token's role has changed. `absent` counts, by other field, the rows that came without it.
    """

    withheld: list[str]
    partly_withheld: list[Mapping[str, str | None]]
    absent: dict[str, int]


def withheld_fields(asked: Collection[str] | None, rows: int, absent: Mapping[str, int]) -> list[str]:
    """Returns the sensitive fields that were asked for (None: all) and came with none of this many rows."""
    return [
        field.name
        for field in FIELDS
        if field.sensitive and (asked is None or field.name in asked) and rows and absent.get(field.name) == rows
    ]


def served_fields(state: State) -> ServedFields:
    """Returns the fields that the rows of `state` were served without."""
    absent = state.absent
    withheld = withheld_fields(None if state.request is None else state.request.fields, state.totals.rows, absent)
    changed = sorted(file.window for file in state.conversations if file.withheld_rows) if state.role_changed else []
    return ServedFields(
        withheld,
        [interval_text(window) for window in changed],
        {name: count for name, count in sorted(absent.items()) if count and name not in withheld},
    )
