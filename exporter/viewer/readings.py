"""Keeps the conversations that were read last, because a reader scrolls and a listener seeks."""

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from anyio import to_thread

from exporter.contract import RECORDING_FIELD, SECOND
from exporter.layout import CONVERSATIONS
from exporter.viewer.clock import Clock, clock_of
from exporter.viewer.export import Export
from exporter.viewer.recording import find_recording
from exporter.viewer.transcript import Source, read_transcript
from exporter.viewer.turns import Items

#: This many bytes of them are kept, or a single larger one.
_KEPT_BYTES: Final = 64 * 1024 * 1024
#: And no more of them.
_KEPT: Final = 50


class Reading(NamedTuple):
    """Holds what was read of a conversation: its items, where from, and when its recording began."""

    items: Items
    source: Source
    clock: Clock


class Readings:
    """Reads conversations, one at a time because one may be large, and keeps those that were read last.

    Nothing of a generation is kept when there is a later one: somebody may have been erased since.
    """

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._kept: OrderedDict[tuple[int, str], Reading] = OrderedDict()

    async def read(self, export: Export, identity: str) -> Reading | None:
        """Returns what is said in a conversation; None if the export has no transcripts at all. Raises as
        `Export.created_at`."""
        async with self._one_at_a_time:
            if self._kept and not await export.is_latest():
                self._kept.clear()
            key = export.generation, identity
            found = self._kept.pop(key, None) or await _read(export, identity)
            if found is not None:
                self._keep(key, found)
            return found

    def _keep(self, key: tuple[int, str], reading: Reading) -> None:
        for other in [each for each in self._kept if each[0] != key[0]]:
            del self._kept[other]
        self._kept[key] = reading
        while len(self._kept) > 1 and (
            len(self._kept) > _KEPT or sum(each.items.size_bytes for each in self._kept.values()) > _KEPT_BYTES
        ):
            self._kept.popitem(last=False)


async def _read(export: Export, identity: str) -> Reading | None:
    created_at = await export.created_at(identity)
    transcript = await read_transcript(export, identity)
    if transcript is None:
        return None
    seconds = created_at / SECOND
    items = await to_thread.run_sync(Items, transcript.items, seconds)
    recording = await find_recording(export, identity)
    duration = None if recording is None else recording.duration
    clock = clock_of(seconds, await _details(export, identity), duration, items.first, items.last)
    return Reading(items, transcript.source, clock)


async def _details(export: Export, identity: str) -> str | None:
    if RECORDING_FIELD not in export.columns(CONVERSATIONS):
        return None
    where = await export.about(CONVERSATIONS, identity)
    found = await export.ask(
        f"SELECT {RECORDING_FIELD} AS details FROM {CONVERSATIONS} WHERE {where}",  # noqa: S608 - values are parameters
        where.values,
    )
    details: str | None = found[0]["details"] if found else None
    return details
