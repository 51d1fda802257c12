"""`exporter recordings cat` gives the audio of one conversation. It changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from exporter.errors import UsageError
from exporter.keys import Keys
from exporter.layout import RECORDINGS, is_media
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.model import ExportFile
from exporter.parts.cipher import using
from exporter.parts.columns import ID_COLUMNS
from exporter.parts.integrity import as_written, opened
from exporter.parts.media import audio_in
from exporter.parts.reader import read_batches
from exporter.run.encryption import find_cipher
from exporter.run.reconcile import stored_export
from exporter.store.base import Store
from exporter.store.location import Location, shell_word
from exporter.store.open import open_store

_ID: Final = ID_COLUMNS[RECORDINGS]


async def give_audio(
    location: Location, identity: str, keys: Keys, take: Callable[[bytes | memoryview], object]
) -> None:
    """Calls `take`, in a thread, with the audio of a conversation, one chunk after the other.

    Raises `UsageError` if none is stored, `DestinationError` if there is no export, `ProtectionError` if its key is not
    here, `DamagedPartError` before anything is taken, and `StoreError`.
    """
    async with open_store(location) as store:
        state = await load_state(store)
        stored_export(state, location)
        cipher = find_cipher(keys, location)(state)
        with using(cipher):
            media = await _find(store, state, identity)

        def copy(source: Path) -> None:
            for chunk in audio_in(source, media.path, location, *(() if cipher is None else cipher.keys)):
                take(chunk)

        async with as_written(store, media) as source:
            await to_thread.run_sync(copy, source)


async def _find(store: Store, state: State, identity: str) -> ExportFile:
    for file in state.recordings:
        async with opened(store, file) as part:
            row = await to_thread.run_sync(_row_in, part, identity)
        if row is None:
            continue
        if row["status"] != "stored" or not is_media(row["path"] or ""):
            raise UsageError(
                f"{store.location}: no audio of {identity}: {row['status']} ({row['reason'] or 'but no path'}). "
                "exporter help recordings says what to do about that"
            )
        return ExportFile(path=row["path"], rows=0, size_bytes=row["bytes"], sha256=row["sha256"])
    raise UsageError(
        f"{store.location}: no recording of {identity} here. exporter recordings {shell_word(store.location)} fetches "
        "those that are left; the column conversation_id of its table names all that there are"
    )


def _row_in(part: Path, identity: str) -> dict[str, Any] | None:
    for batch in read_batches([part], [_ID, "status", "reason", "path", "bytes", "sha256"]):
        found = batch.filter(pc.equal(batch.column(_ID), pa.scalar(identity, pa.string())))
        if found.num_rows:
            row: dict[str, Any] = found.to_pylist()[0]
            return row
    return None
