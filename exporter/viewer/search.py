"""Finds conversations, from new to old, window by window, for no longer than a reader likes to wait."""

import time
from collections.abc import Iterator
from typing import Any, Final

from exporter.contract import BEGINNING, END_OF_TIME, TRANSCRIPT_FIELD, format_instant
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS
from exporter.viewer.conditions import Where, as_asked, behind, may_be_said, named_in, said
from exporter.viewer.export import QUESTION_SECONDS, Export, SlowQuestionError
from exporter.viewer.no_answer import NoAnswerError
from exporter.viewer.parameters import Find, Position, encode_position
from exporter.viewer.snippet import Candidate, snippets_in_transcripts, snippets_in_turns
from exporter.viewer.timeline import Window

#: A search answers after this long, and says how far it has looked.
_SECONDS: Final = 5.0
#: A window has about this many conversations at first, and grows while little is found.
_FIRST_ROWS: Final = 20_000
_MOST_ROWS: Final = 1_000_000
_GROWTH: Final = 4
#: Some windows take this many times as long as others of their size.
_SHARE: Final = 2
#: Of this many transcripts that may have a text, the JSON is read before more are looked for.
_READ_AT_ONCE: Final = 256
#: What a row shows, by its name: the column that it is made of, and the expression.
_SHOWN: Final = {
    "agent_id": ("agent_id", "agent_id"),
    "agent_name": ("agent", "agent.name"),
    "agent_version_id": ("agent_version_id", "agent_version_id"),
    "channel": ("channel", "channel"),
    "direction": ("direction", "direction"),
    "status": ("status", "status"),
    "duration_seconds": ("duration", "duration"),
    "user": ("user_id", "user_id"),
    "agent_number": ("agent_number", "agent_number"),
    "turns": ("user_turn_count", "user_turn_count"),
}


async def find_conversations(export: Export, find: Find) -> dict[str, Any]:
    """Returns a page of conversations, and where the next one begins. Raises `NoAnswerError`, and as `Export.ask`."""
    export.check(find.generation)
    search = _Search(export, find)
    found, is_complete = await search.run()
    rows, has_more = found[: find.limit], len(found) > find.limit
    position = _position_of(rows[-1]) if has_more else search.position
    is_complete = is_complete and not has_more
    if rows and find.text is not None and not search.reads:
        window = export.timeline.window_of(rows[-1]["at"], rows[0]["at"])
        snippets = await snippets_in_turns(export, window, [row["id"] for row in rows], find.text)
        rows = [row | {"snippet": snippets.get(row["id"])} for row in rows]
    recorded = await _recorded(export, rows)
    for row in rows:
        export.remember(row["id"], row["at"])
    return {
        "rows": [
            _shown(row) | {"has_recording": None if recorded is None else recorded.get(row["id"], False)}
            for row in rows
        ],
        "cursor": None if is_complete else encode_position(position),
        "is_complete": is_complete,
        "searched_until": None if is_complete else format_instant(position.created_at),
        "note": None
        if is_complete or has_more
        else f"Searched back to {format_instant(position.created_at)}, and found no more yet",
        "generation": export.generation,
    }


class _Search:
    """Walks from new to old. `position` is what has been searched up to, and `reads` says that transcripts are read as
    JSON, because there is no table of turns."""

    def __init__(self, export: Export, find: Find) -> None:
        self._export, self._find, self._generation = export, find, export.generation
        until = Position(END_OF_TIME - 1 if find.until is None else find.until, "")
        self.position = until if find.cursor is None else min(find.cursor, until)
        self._since = BEGINNING if find.since is None else find.since
        columns = export.columns(CONVERSATIONS)
        self._asked = as_asked(find, columns)
        self.reads = find.text is not None and TURNS not in export.query.tables
        if self.reads and TRANSCRIPT_FIELD not in columns:
            raise NoAnswerError("the export has no transcripts, so no text can be found in them")
        self._elsewhere = list(self._asked_elsewhere())
        shown = [f"{what if of in columns else 'NULL'} AS {name}" for name, (of, what) in _SHOWN.items()]
        size = [f"strlen({TRANSCRIPT_FIELD}) AS transcript_bytes"] if self.reads else []
        self._columns = ", ".join(["id", "epoch_us(created_at) AS at", *shown, *size])

    def _asked_elsewhere(self) -> Iterator[tuple[str, Where]]:
        """Yields what rows of other tables must have. Raises `NoAnswerError` if the export lacks one of them."""
        find, tables = self._find, self._export.query.tables
        if find.text is not None and not self.reads:
            yield TURNS, said(find.text)
        if find.latency_above is not None:
            if TURNS not in tables:
                raise NoAnswerError("the export has no table of turns, so nothing can be found by the time of replies")
            yield TURNS, Where(["e2e_latency >= ?"], [find.latency_above])
        if find.recording:
            if RECORDINGS not in tables:
                raise NoAnswerError("the export holds no recordings")
            yield RECORDINGS, Where(["status = 'stored'"], [])

    async def run(self) -> tuple[list[dict[str, Any]], bool]:
        """Returns more rows than a page has, if there are as many, and whether all has been searched."""
        rows: list[dict[str, Any]] = []
        began, size, seconds = time.monotonic(), _FIRST_ROWS, QUESTION_SECONDS
        while len(rows) <= self._find.limit:
            before = self.position.created_at + bool(self.position.identity)
            window = self._export.timeline.latest(self._since, before, size)
            if window is None:
                return rows, True
            if size < _FIRST_ROWS:
                return rows, False
            self._export.check(self._generation)
            asked = time.monotonic()
            try:
                rows += await self._look(window, self._find.limit + 1 - len(rows), seconds)
            except SlowQuestionError as error:
                # The first window is given more time, so that asking again always gets on.
                if seconds == QUESTION_SECONDS:
                    raise NoAnswerError(f"{error}. Search a shorter time", 503) from error
                return rows, False
            seconds = began + _SECONDS - time.monotonic()
            size = next_rows(size, time.monotonic() - asked, seconds)
        return rows, False

    async def _look(self, window: Window, most: int, seconds: float) -> list[dict[str, Any]]:
        """Searches the latest part of a window that has this many rows, or all of it, and moves the position on."""
        where = self._where(window)
        limit = max(most, _READ_AT_ONCE) if self.reads else most
        found = await self._export.search(
            f"SELECT {self._columns} FROM {CONVERSATIONS} WHERE {where} "  # noqa: S608 - values are parameters
            f"ORDER BY {CONVERSATIONS}.created_at DESC, {CONVERSATIONS}.id DESC LIMIT {limit}",
            where.values,
            seconds,
        )
        kept = found
        if self.reads:
            candidates = [Candidate(row["id"], row["at"], row.pop("transcript_bytes") or 0) for row in found]
            snippets = await snippets_in_transcripts(self._export, candidates, self._find.text or "")
            kept = [row | {"snippet": snippets[row["id"]]} for row in found if row["id"] in snippets]
        self.position = _position_of(found[-1]) if len(found) == limit else Position(window.start, "")
        return kept

    def _where(self, window: Window) -> Where:
        schemas, text = self._export.query.schemas, self._find.text
        where = self._export.within(CONVERSATIONS, window)
        for more in (behind(self.position), self._asked):
            where.extend(more)
        if text is not None and self.reads:
            where.extend(may_be_said(text, TRANSCRIPT_FIELD))
        for table, has in self._elsewhere:
            where.extend(named_in(table, schemas[table], window, has))
        return where


def next_rows(rows: int, took_seconds: float, left_seconds: float) -> int:
    """Returns how many rows the next window should have, after one of this many, to end while there is time."""
    fits = rows * max(0.0, left_seconds) / _SHARE / max(took_seconds, 0.001)
    return int(min(_GROWTH * rows, _MOST_ROWS, fits))


def _position_of(row: dict[str, Any]) -> Position:
    return Position(row["at"], row["id"])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {"snippet": None, **row, "created_at": format_instant(row["at"])}


async def _recorded(export: Export, rows: list[dict[str, Any]]) -> dict[str, bool] | None:
    """Returns which of these conversations have a recording that is kept; None if the export has none at all."""
    if RECORDINGS not in export.query.tables:
        return None
    if not rows:
        return {}
    window = export.timeline.window_of(rows[-1]["at"], rows[0]["at"])
    where = export.within(RECORDINGS, window)
    where.add("conversation_id IN (SELECT unnest(?))", [row["id"] for row in rows])
    found = await export.ask(
        f"SELECT conversation_id AS id, status = 'stored' AS is_stored FROM {RECORDINGS} WHERE {where}",  # noqa: S608
        where.values,
    )
    return {row["id"]: row["is_stored"] for row in found}
