"""Holds which conversations a commit has changed: neither their content nor that of their transcripts.

A row stands for a row of the table that went, came, or was replaced. `was_at` is the `created_at` that it had before
the commit, and null if it was not there; `created_at` is the one that it has afterwards, and null if it is gone. An id
may have several rows, because a conversation may have been in the table twice. One that went from one of its places,
and stays at another, has that place as `created_at`.

What a commit newly covers has no row here: all that lies there is new, and the parts have it.
"""

from typing import Final

import pyarrow as pa

_TIME: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [pa.field("id", pa.string(), nullable=False), pa.field("was_at", _TIME), pa.field("created_at", _TIME)]
)
