"""Finds stored rows that came with sensitive fields, by which a run learns what its token sees."""

from typing import Final

from anyio import to_thread

from exporter.contract import BEGINNING
from exporter.log.expiry import field_floors
from exporter.log.state import State
from exporter.parts.integrity import opened
from exporter.parts.nulls import sighted_rows
from exporter.store.base import Store

#: The most parts to open, and the most rows to take.
_LOOKED_INTO: Final = 3


async def find_sighted(store: Store, state: State) -> list[str]:
    """Returns the ids of a few rows that came with sensitive fields, from as small a part as possible, and above the
    floors of fields, below which such a row may have no value any longer."""
    floor = max(field_floors(state.privacy.floors).values(), default=BEGINNING)
    files = [file for file in state.conversations if file.withheld_rows < file.rows]
    for file in sorted(files, key=lambda file: (file.created_at_max < floor, file.size_bytes))[:_LOOKED_INTO]:
        async with opened(store, file) as part:
            if found := await to_thread.run_sync(sighted_rows, part, _LOOKED_INTO):
                return found
    return []
