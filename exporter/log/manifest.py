"""Writes and reads the manifest: the log folded into one file that lets a reader verify every byte."""

import re
from collections.abc import Collection, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from anyio import to_thread

from exporter.contract import Instant, format_instant
from exporter.errors import DamagedLogError
from exporter.layout import MANIFEST, RECORDINGS, STAGING, SUCCESS, commit_path
from exporter.log import local_manifest as local
from exporter.log.acceptance import Acceptance
from exporter.log.manifest_files import are_same, cut, filled, interval_text, list_again, list_parts, lists_in
from exporter.log.privacy import render_privacy
from exporter.log.recordings import count_recordings
from exporter.log.served import served_fields
from exporter.log.stamp import END, TAIL_BYTES, NotStampedError, is_stamped, stamped, without_stamp
from exporter.log.state import FORMAT_VERSION, State, state_name
from exporter.model import Unproven
from exporter.store.base import Store

#: How a rendered manifest begins, and where that ends at the latest.
_HEAD: Final = re.compile(rb'\{\n  "format_version": \d+,\n  "export_id": "[^"\\]*",\n  "generation": (\d+),\n')
_HEAD_BYTES: Final = 1024
#: To render this many parts takes a tenth of a second.
_RENDERED_SOONER: Final = 10_000


def render_manifest(state: State, *, schemas: Mapping[str, pa.Schema]) -> bytes:
    """Returns the text of `_manifest.json` for a state that has begun; `schemas` are those of the tables.

    The same state gives the same bytes. Times are ISO 8601 in UTC, and an open start is null; `generation` is the
    number of the last commit. An export without recordings has no `media`, no `recordings`, and no table of them.
    """
    around = _around(state, schemas)
    lists = (list_parts(state.by_path, table) for table in _tables(state, schemas))
    return stamped(around, filled(around, lists), state)


def render_again(manifest: bytes, told: State, state: State, *, schemas: Mapping[str, pa.Schema]) -> bytes | None:
    """Returns what `render_manifest` does, with parts as `manifest` lists them; None if this is not what it returns for
    the state `told`."""
    tables, known = _tables(state, schemas), _around(told, schemas)
    if tables != _tables(told, schemas) or not is_stamped(BytesIO(manifest), known, told):
        return None
    lists = lists_in(manifest, len(manifest) - TAIL_BYTES, [*known[:-1], known[-1].removesuffix(END)])
    if lists is None:
        return None
    again = (list_again(text, told.by_path, state.by_path, table) for table, text in zip(tables, lists, strict=True))
    around = _around(state, schemas)
    return stamped(around, filled(around, again), state)


def _tables(state: State, schemas: Mapping[str, pa.Schema]) -> list[str]:
    return [table for table in schemas if table != RECORDINGS or state.has_recordings]


def _around(state: State, schemas: Mapping[str, pa.Schema]) -> list[bytes]:
    """Returns what stands around the lists of parts."""
    return cut(_frame(state, schemas), _tables(state, schemas))


def _frame(state: State, schemas: Mapping[str, pa.Schema]) -> bytes:
    """Returns the text of a manifest without the lists of its parts, and without its stamp."""
    quarantined = sorted(state.quarantine.values(), key=lambda file: file.path)
    counters, totals = state.counters, state.totals
    manifest = {
        "format_version": FORMAT_VERSION,
        "export_id": state.export_id,
        "generation": state.number,
        "state": state_name(state),
        "request": msgspec.to_builtins(state.request),
        "range": None if state.range is None else interval_text(state.range),
        "organization": state.organization,
        "hidden_statuses": list(state.hidden_statuses),
        "coverage": [interval_text(interval) for interval in state.coverage],
        "covered_share": state.covered_share,
        "updates_since": _instant(state.read_since),
        "table_format": msgspec.to_builtins(state.table_format),
        "tables": {
            table: {
                "schema": [
                    {"name": field.name, "type": str(field.type), "nullable": field.nullable}
                    for field in schemas[table]
                ],
                "files": [],
            }
            for table in _tables(state, schemas)
        },
        **(_recordings(state) if state.has_recordings else {}),
        **render_privacy(state.privacy, state.files),
        "fields": msgspec.to_builtins(served_fields(state)),
        "hydrated": msgspec.to_builtins(state.hydrated),
        "quarantine": {
            "rows": state.quarantined_rows,
            "files": [
                {
                    "path": file.path,
                    "rows": file.rows,
                    "bytes": file.size_bytes,
                    "sha256": file.sha256,
                    **({"key": file.key} if file.key else {}),
                }
                for file in quarantined
            ],
        },
        "changes": {
            "from_generation": state.feed_start,
            "files": len(state.changes),
            "bytes": sum(file.size_bytes for file in state.changes.values()),
        },
        "unproven": _unproven(state.unproven),
        "accepted": [_accepted(one) for one in state.acceptances],
        "totals": {
            "rows": totals.rows,
            "turns": totals.turns,
            "bytes": totals.bytes,
            "files": totals.files,
            "open_rows": totals.open_rows,
            "windows": counters.windows,
            "requests": counters.requests,
            "retries": counters.retries,
            "throttled": counters.throttled,
            "pages": counters.pages,
        },
        "timing": {
            "started_at": _instant(state.started_at),
            "committed_at": _instant(state.committed_at),
            "seconds": round(counters.seconds, 3),
            "runs": len(state.runs),
        },
        "software": dict(state.software),
    }
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


async def write_manifest(
    store: Store,
    state: State,
    *,
    schemas: Mapping[str, pa.Schema],
    removed: Iterable[str] = (),
    leaves_parts: bool = False,
    told: State | None = None,
) -> None:
    """Brings `_manifest.json` and `_SUCCESS` up to date with `state`; changes nothing if they are. If the manifest
    there tells the state `told`, only what has changed is rendered.

    `_SUCCESS` exists only while the manifest beside it is complete and no other part lies there: it is deleted first
    and created last, after the files that commits have `removed` are deleted. A caller that `leaves_parts` to be swept
    afterwards has none created.
    """
    complete = state_name(state) == "complete"
    if not complete:
        await store.delete(SUCCESS)
    if told is None or not await _renew(store, told, state, schemas):
        # One of few parts is rendered sooner than it is read.
        is_old = told is not None and told.number < state.number and len(state.by_path) <= _RENDERED_SOONER
        found = None if is_old else await store.read(MANIFEST)
        again = None if found is None or told is None else render_again(found, told, state, schemas=schemas)
        manifest = again or render_manifest(state, schemas=schemas)
        if found != manifest:
            await store.replace(MANIFEST, manifest)
    await store.delete(*removed)
    # To create what is there costs an object store two requests.
    if complete and not leaves_parts and await store.read(SUCCESS) is None:
        await store.create(SUCCESS, b"")


async def _renew(store: Store, told: State, state: State, schemas: Mapping[str, pa.Schema]) -> bool:
    """Returns whether the manifest tells the state `told`, which has the same parts: then it is written again, and
    never held as a whole."""
    if not isinstance(store.location, Path) or told.number in (0, state.number):
        return False
    if not are_same(told.by_path, state.by_path):
        return False
    known, around = _around(told, schemas), _around(state, schemas)
    if known[1:-1] != around[1:-1]:
        return False
    try:
        await store.replace(MANIFEST, local.renewed(store.location / MANIFEST, known, told, around, state))
    except NotStampedError:
        return False
    return True


async def is_sealed(
    store: Store, state: State, *, schemas: Mapping[str, pa.Schema], there: Collection[str] | None = None
) -> bool:
    """Returns whether the manifest and `_SUCCESS` say what `state` says, and no run has left staged files. `there` are
    files that were listed, with all those that are staged; they are listed here if that is None."""
    if there is None:
        there = await store.list(STAGING)
    return (
        await _tells(store, state, schemas)
        and (await store.read(SUCCESS) is not None) == (state_name(state) == "complete")
        and not any(path.startswith(f"{STAGING}/") for path in there)
    )


async def _tells(store: Store, state: State, schemas: Mapping[str, pa.Schema]) -> bool:
    # A manifest grows with the export: where that is not needed, it is not held as a whole.
    around, location = _around(state, schemas), store.location
    if isinstance(location, Path) and await to_thread.run_sync(local.is_stamped, location / MANIFEST, around, state):
        return True
    manifest = await store.read(MANIFEST)
    if manifest is None:
        return False
    return is_stamped(BytesIO(manifest), around, state) or without_stamp(manifest) == without_stamp(
        render_manifest(state, schemas=schemas)
    )


def lost_commits(generation: int, state: State) -> DamagedLogError:
    """Returns the error for a manifest of a later `generation` than the log."""
    return DamagedLogError(
        commit_path(state.number + 1),
        f"missing: the manifest rests on {generation} commits, and there are {state.number}. Restore them; or, if "
        "the manifest is wrong, delete it",
    )


async def check_not_behind(store: Store, state: State) -> None:
    """Raises `DamagedLogError` if the manifest rests on more commits than `state` does: they have been lost."""
    generation = await _read_generation(store)
    if generation is not None and generation > state.number:
        raise lost_commits(generation, state)


async def _read_generation(store: Store) -> int | None:
    if isinstance(store.location, Path):
        # A manifest grows with the export, and its first lines say it.
        head = await to_thread.run_sync(local.head_of, store.location / MANIFEST, _HEAD_BYTES)
        if found := _HEAD.match(head):
            return int(found[1])
    return generation_of(await store.read(MANIFEST) or b"")


class _Generation(msgspec.Struct):
    generation: int


def generation_of(manifest: bytes) -> int | None:
    """Returns the number of commits that a manifest rests on; None if it does not say."""
    try:
        return msgspec.json.decode(manifest, type=_Generation).generation
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _recordings(state: State) -> dict[str, Any]:
    counts = count_recordings(state)
    names = ("stored", "gone", "expired", "failed", "refused", "left")
    return {
        "media": {"files": counts.media_files, "bytes": counts.media_bytes},
        "recordings": {"with": counts.recorded, **{name: getattr(counts, name) for name in names}},
    }


def _unproven(doubts: Iterable[Unproven]) -> list[dict[str, Any]]:
    return [
        {
            "created_at": _instant(one.created_at),
            **({} if one.since is None else {"since": _instant(one.since)}),
            "rows": one.rows,
            "reason": one.reason,
        }
        for one in sorted(doubts, key=lambda one: one.created_at)
    ]


def _accepted(acceptance: Acceptance) -> dict[str, Any]:
    doubts = acceptance.doubts
    return {
        "at": _instant(acceptance.at),
        "by": acceptance.by,
        "note": acceptance.note,
        "doubts": len(doubts),
        "unproven": _unproven(doubts.unproven),
        "quarantine": sorted(file.path for file in doubts.quarantine),
        "partly_withheld": [{**interval_text(one.interval), "rows": one.rows} for one in sorted(doubts.withheld)],
    }


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else format_instant(instant)
