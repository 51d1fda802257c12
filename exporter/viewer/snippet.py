"""Shows where a text was found in transcripts: in the table of turns or, without one, in the JSON of conversations."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from exporter.contract import TRANSCRIPT_FIELD, Instant
from exporter.layout import CONVERSATIONS, TURNS
from exporter.viewer.conditions import SPOKEN, said
from exporter.viewer.export import Export
from exporter.viewer.timeline import Window
from exporter.viewer.transcript import decode_items

_AROUND: Final = 60
#: Transcripts are read in groups of about this size.
_BYTES_AT_ONCE: Final = 16 * 1024 * 1024


class Candidate(NamedTuple):
    """Names a conversation whose transcript, of this size, may have a text in it."""

    identity: str
    created_at: Instant
    transcript_bytes: int


async def snippets_in_turns(export: Export, window: Window, ids: Sequence[str], text: str) -> dict[str, str | None]:
    """Returns, by conversation, what was said around the first place that has a text. Raises as `Export.ask`."""
    where = export.within(TURNS, window)
    where.add("conversation_id IN (SELECT unnest(?))", list(ids))
    where.extend(said(text))
    found = await export.ask(
        f"SELECT conversation_id AS id, arg_min(concat_ws(' ', {', '.join(SPOKEN)}), item_index) AS said "  # noqa: S608
        f"FROM {TURNS} WHERE {where} GROUP BY conversation_id",
        where.values,
    )
    return {row["id"]: snippet_of([row["said"]], text) for row in found}


async def snippets_in_transcripts(export: Export, candidates: Iterable[Candidate], text: str) -> dict[str, str]:
    """Returns the same from the JSON of the candidates: of those whose transcript has the text. Raises as
    `Export.ask`."""
    places: dict[str, str] = {}
    for group in _groups(candidates):
        first, last = min(one.created_at for one in group), max(one.created_at for one in group)
        where = export.within(CONVERSATIONS, export.timeline.window_of(first, last))
        where.add("id IN (SELECT unnest(?))", [one.identity for one in group])
        for row in await export.ask(
            f"SELECT id, {TRANSCRIPT_FIELD} AS transcript FROM {CONVERSATIONS} WHERE {where}",  # noqa: S608
            where.values,
        ):
            turns = decode_items(row["transcript"]).select(SPOKEN)
            place = snippet_of((value for turn in turns.to_pylist() for value in turn.values()), text)
            if place is not None:
                places[row["id"]] = place
    return places


def snippet_of(said_texts: Iterable[str | None], text: str) -> str | None:
    """Returns what stands around a text, in the first of the texts that has it in any letter case; None: none has."""
    wanted = text.lower()
    for each in said_texts:
        if each is None or (at := each.lower().find(wanted)) < 0:
            continue
        start, end = max(0, at - _AROUND), at + len(text) + _AROUND
        shown = " ".join(each[start:end].split())
        return f"{'…' if start else ''}{shown}{'…' if end < len(each) else ''}"
    return None


def _groups(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    group: list[Candidate] = []
    for one in candidates:
        if group and sum(each.transcript_bytes for each in group) + one.transcript_bytes > _BYTES_AT_ONCE:
            yield group
            group = []
        group.append(one)
    if group:
        yield group
