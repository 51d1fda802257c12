"""Answers what one conversation is: its columns, its turns, and what is known of its recording."""

from datetime import datetime
from typing import Any, Final

from exporter.contract import SECOND, TRANSCRIPT_FIELD, format_datetime, format_instant
from exporter.layout import CONVERSATIONS
from exporter.viewer.export import Export
from exporter.viewer.no_answer import NoAnswerError
from exporter.viewer.parameters import One, Turns
from exporter.viewer.readings import Readings
from exporter.viewer.recording import describe_recording, find_recording
from exporter.viewer.transcript import source_of

#: Longer texts of a column are cut, so that a page stays usable.
_MOST_CHARACTERS: Final = 100_000
_NO_TRANSCRIPTS: Final = (
    "The export holds neither turns nor transcripts: it was made without the field conversation, or without --tables "
    "conversations,turns. Export it with them to another place to read what was said"
)
_FROM_JSON: Final = "The export has no table of turns; these were made from the transcript, in the same way"
_WITHHELD: Final = "The token was not allowed to read transcripts"


async def answer_conversation(export: Export, asked: One) -> dict[str, Any]:
    """Returns all that a conversation has besides its transcript. Raises `NoAnswerError`, and as `Export.ask`."""
    export.check(asked.generation)
    row = await _row(export, asked.identity)
    recording = await find_recording(export, asked.identity)
    shown = {name: _shown(value) for name, value in row.items()}
    return {
        "row": shown,
        "shortened": {
            name: len(value) for name, value in row.items() if isinstance(value, str) and len(value) > _MOST_CHARACTERS
        },
        "recording": None if recording is None else await describe_recording(export, recording),
        "turns_from": source_of(export),
        "turns_note": _note(export),
        "generation": export.generation,
    }


async def answer_turns(export: Export, readings: Readings, asked: Turns) -> dict[str, Any]:
    """Returns a page of the turns of a conversation. Raises `NoAnswerError`, and as `Export.ask`."""
    export.check(asked.generation)
    reading = await readings.read(export, asked.identity)
    told = {"note": _note(export), "generation": export.generation}
    if reading is None:
        return {
            "turns": [],
            "from": 0,
            "total": 0,
            "next": None,
            "slowest": None,
            "from_source": None,
            "clock": None,
            **told,
        }
    items, clock, start = reading.items, reading.clock, asked.start
    if asked.at_seconds is not None:
        found = items.index_at(clock.starts_at + asked.at_seconds)
        start = found - found % asked.limit
    following = start + asked.limit
    return {
        "turns": items.page(start, asked.limit, clock),
        "from": start,
        "total": items.total,
        "slowest": items.slowest,
        "next": following if following < items.total else None,
        "from_source": reading.source,
        "clock": {
            "starts_at": format_instant(round(clock.starts_at * SECOND)),
            "basis": clock.basis,
            "is_estimated": clock.is_estimated,
            "note": clock.note,
        },
        **told,
    }


async def _row(export: Export, identity: str) -> dict[str, Any]:
    where = await export.about(CONVERSATIONS, identity)
    columns = ", ".join(f'"{name}"' for name in export.columns(CONVERSATIONS) if name != TRANSCRIPT_FIELD)
    found = await export.ask(f"SELECT {columns} FROM {CONVERSATIONS} WHERE {where} LIMIT 1", where.values)  # noqa: S608
    if not found:
        raise NoAnswerError("there is no conversation with this id in the export", 404)
    return found[0]


def _note(export: Export) -> str | None:
    source = source_of(export)
    if source is None:
        return _NO_TRANSCRIPTS
    if TRANSCRIPT_FIELD in export.manifest.fields.withheld:
        return _WITHHELD
    return None if source == "turns" else _FROM_JSON


def _shown(value: Any) -> Any:
    """Returns a value as JSON has it. Large integers are texts, because a browser would round them."""
    if isinstance(value, str):
        return value[:_MOST_CHARACTERS]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    if isinstance(value, datetime):
        return format_datetime(value)
    return value
