"""Answers what an export is: what it holds, whether it is complete, and what a policy has done to it."""

from collections.abc import Iterator
from typing import Any, Final

from exporter.contract import BEGINNING, END_OF_TIME
from exporter.encode.descriptions import DESCRIPTIONS
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS
from exporter.log.published import Manifest
from exporter.store.location import shell_word
from exporter.viewer.export import Export, SlowQuestionError
from exporter.viewer.transcript import source_of

#: The choices of a list are counted over about this many of the newest conversations.
_COUNTED_ROWS: Final = 1_000_000
_MOST_CHOICES: Final = 200
_SECONDS: Final = 15.0
_CHOICES: Final = {"agents": "agent_id", "versions": "agent_version_id", "channels": "channel", "statuses": "status"}


async def answer_about(export: Export, name: str | None) -> dict[str, Any]:
    """Opens the latest generation, and returns what a page shows around all else. `name` is that of a config file.

    Raises as `Export.open`.
    """
    await export.open()
    manifest, tables = export.manifest, export.query.tables
    return {
        "destination": str(export.location),
        "name": name,
        "generation": export.generation,
        "state": manifest.state,
        "since": None if manifest.range is None else manifest.range.start,
        "until": None if manifest.range is None else manifest.range.end,
        "rows": sum(file.rows for file in manifest.tables[CONVERSATIONS].files),
        "tables": list(tables),
        "fields": {table: list(_fields(manifest, table)) for table in tables},
        "timezone": manifest.request.timezone,
        "has_turns": TURNS in tables,
        "has_transcripts": source_of(export) is not None,
        "has_recordings": RECORDINGS in tables,
        "can_search_text": source_of(export) is not None,
        "withheld": manifest.fields.withheld,
        "policy": _policy(manifest),
        "encrypted": manifest.encryption is not None,
        "notes": list(_notes(export)),
    }


async def answer_facets(export: Export, generation: int | None) -> dict[str, Any]:
    """Returns the agents, versions, channels and statuses to choose from, those of most conversations first. Raises as
    `Export.ask`."""
    export.check(generation)
    columns = export.columns(CONVERSATIONS)
    window = export.timeline.latest(BEGINNING, END_OF_TIME, _COUNTED_ROWS)
    is_all = window is None or export.timeline.latest(BEGINNING, window.start, 1) is None
    found: dict[str, list[dict[str, Any]]] = {}
    note = None if is_all else f"Counted among the newest {_COUNTED_ROWS:,} conversations, roughly"
    for name, column in _CHOICES.items():
        if window is None or column not in columns:
            found[name] = []
            continue
        where = export.within(CONVERSATIONS, window)
        called = "max(agent.name)" if name == "agents" and "agent" in columns else "NULL"
        try:
            found[name] = await export.search(
                f"SELECT {column} AS value, {called} AS name, count(*) AS count FROM {CONVERSATIONS} "  # noqa: S608
                f"WHERE {where} AND {column} IS NOT NULL GROUP BY ALL ORDER BY count DESC, value LIMIT {_MOST_CHOICES}",
                where.values,
                _SECONDS,
            )
        except SlowQuestionError:
            found[name], note = [], "Counting took too long: type what you look for"
    agents = [{"id": row["value"], "name": row["name"], "count": row["count"]} for row in found.pop("agents")]
    choices = {name: [{"value": row["value"], "count": row["count"]} for row in rows] for name, rows in found.items()}
    return {"agents": agents, **choices, "note": note, "generation": export.generation}


def _fields(manifest: Manifest, table: str) -> Iterator[dict[str, str]]:
    for column in manifest.tables[table].schema:
        description = DESCRIPTIONS.get(table, {}).get(column.name, "")
        yield {"name": column.name, "type": column.type, "description": description}


def _policy(manifest: Manifest) -> dict[str, Any] | None:
    """Returns what became of which fields, in the words of the policy; None without one."""
    rules = manifest.protection.rules | {f"turns.{path}": rule for path, rule in manifest.protection.turns.items()}
    changed = [{"field": path, "action": rule} for path, rule in rules.items() if rule != "keep"]
    return {"fields": changed, "note": "Values were changed before they were stored"} if changed else None


def _notes(export: Export) -> Iterator[str]:
    where = shell_word(export.location)
    if export.manifest.state == "incomplete":
        yield f"A part of the range is missing: exporter status {where} says which, and how to go on"
    if export.manifest.state == "unproven":
        yield f"It is not proven that all rows are here: exporter status {where} says where that is in doubt"
    if export.manifest.fields.withheld:
        fields = ", ".join(export.manifest.fields.withheld)
        yield f"The token was not allowed to read these fields, which are empty: {fields}"
