"""Reads the items of one conversation: from the table of turns or, without one, from the JSON of its transcript."""

from typing import Final, Literal, NamedTuple, TypeAlias

import pyarrow as pa
from anyio import to_thread

from exporter.contract import TRANSCRIPT_FIELD, Kind
from exporter.encode.schema import TYPES, turns_schema
from exporter.encode.turns import TurnsEncoder
from exporter.layout import CONVERSATIONS, TURNS
from exporter.parts.columns import ID_COLUMNS, SORT_COLUMNS
from exporter.viewer.export import Export

Source: TypeAlias = Literal["turns", "transcript"]

_OF_CONVERSATION: Final = (ID_COLUMNS[TURNS], SORT_COLUMNS[TURNS])


class Transcript(NamedTuple):
    """Holds the items of a conversation, in their order, as the table of turns has them, without what they have of
    their conversation."""

    items: pa.Table
    source: Source


def source_of(export: Export) -> Source | None:
    """Returns what the transcripts of an export are read from; None: it has none."""
    if TURNS in export.query.tables:
        return "turns"
    return "transcript" if TRANSCRIPT_FIELD in export.columns(CONVERSATIONS) else None


async def read_transcript(export: Export, identity: str) -> Transcript | None:
    """Returns the transcript of a conversation; None if the export has none of any. Raises as `Export.created_at`."""
    source = source_of(export)
    if source is None:
        return None
    if source == "turns":
        columns = ", ".join(name for name in turns_schema().names if name not in _OF_CONVERSATION)
        where = await export.about(TURNS, identity)
        items = await export.fetch(f"SELECT {columns} FROM {TURNS} WHERE {where}", where.values)  # noqa: S608
        return Transcript(items.sort_by("item_index"), source)
    where = await export.about(CONVERSATIONS, identity)
    found = await export.ask(
        f"SELECT {TRANSCRIPT_FIELD} AS transcript FROM {CONVERSATIONS} WHERE {where}",  # noqa: S608
        where.values,
    )
    text = found[0]["transcript"] if found else None
    return Transcript(await to_thread.run_sync(decode_items, text), source)


def decode_items(text: str | None) -> pa.Table:
    """Returns the items of a transcript in JSON, whatever it holds; none for None."""
    batch = pa.RecordBatch.from_pydict(
        {
            "id": pa.array([""], pa.string()),
            "created_at": pa.array([0], TYPES[Kind.TIMESTAMP]),
            TRANSCRIPT_FIELD: pa.array([text], pa.string()),
        }
    )
    encoder = TurnsEncoder()
    return pa.Table.from_batches(encoder.encode(batch), encoder.schema).drop_columns(list(_OF_CONVERSATION))
