"""Publishes commits: makes what a commit says what readers find, and sweeps what no commit names.

A write goes in this order, so that a process killed between any two steps leaves nothing but garbage to sweep:

1. data files are written, fsynced and moved to their final path, and the directory is fsynced;
2. `_SUCCESS` is deleted, if the commit makes a complete export incomplete, or takes files out of it;
3. the commit is created, only if its slot is free: from here on the files are part of the export;
4. the manifest is replaced;
5. files that the commit has removed are deleted;
6. `_SUCCESS` is created, if the export is complete;
7. the log is read again: a run that was overtaken meanwhile restores the manifest of the other run;
8. files that a repair has taken out are moved aside.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa
from anyio import to_thread

from exporter.errors import OvertakenError, StoreError
from exporter.layout import (
    DROPPED,
    ERASURES,
    FILE_KINDS,
    MANIFEST,
    STAGING,
    SUCCESS,
    dropped_path,
    is_export_file,
    is_of_run,
    staged_media_prefix,
)
from exporter.log.commits import check_not_overtaken, load_state
from exporter.log.erasures import unnamed
from exporter.log.expiry import is_expired_leftover
from exporter.log.manifest import write_manifest
from exporter.log.state import State, state_name
from exporter.store.base import Store
from exporter.store.local.files import strays_below

#: Files in these directories are garbage unless a commit names them.
SURVEYED: Final = (STAGING, *(kind.directory for kind in FILE_KINDS), ERASURES)


async def publish(
    store: Store,
    state: State,
    *,
    schemas: Mapping[str, pa.Schema],
    removed: Iterable[str] = (),
    leaves_parts: bool = False,
    told: State | None = None,
) -> None:
    """Brings the manifest and `_SUCCESS` up to date with `state`, and deletes what commits have `removed`.

    `schemas` are those of the tables, and `leaves_parts` and `told` as in `write_manifest`. Raises `StoreError`;
    `OvertakenError` if another run has continued the export, with the manifest of that run in place.
    """
    # A run that overtakes this one writes parts only after its first commit: none of what is deleted is its own.
    await check_not_overtaken(store, state)
    await write_manifest(store, state, schemas=schemas, removed=removed, leaves_parts=leaves_parts, told=told)
    try:
        await check_not_overtaken(store, state)
    except OvertakenError:
        # The manifest that was just replaced may have been the other run's.
        await write_manifest(store, await load_state(store), schemas=schemas)
        raise


async def sweep(
    store: Store,
    state: State,
    *,
    schemas: Mapping[str, pa.Schema],
    removed: Iterable[str] = (),
    fetching: str | None = None,
    told: State | None = None,
    may_wait: bool = False,
    there: Collection[str] | None = None,
) -> bool:
    """Publishes `state`, deletes also what no commit names, and moves aside what repairs have taken out. Of that, what
    has expired meanwhile is deleted.

    For a run that will publish at its end, the publication `may_wait` where nothing goes but staged files: until then
    the manifest tells an older state, all of whose files are there. Returns whether `state` was published.

    The recordings that the run `fetching` has not published yet stay. `told` is as in `write_manifest`, and `there` as
    in `find_garbage`. The caller must hold the destination's lock. Raises as `publish`.
    """
    garbage = await find_garbage(store, state, there)
    if fetching is not None:
        under_way = f"{STAGING}/{staged_media_prefix(fetching)}"
        garbage = [path for path in garbage if not path.startswith(under_way)]
    expired = await _find_expired_leftovers(store, state)
    gone, aside = [*removed, *garbage, *expired], await _find_aside(store, state)
    # A first run shows that it is at work.
    if may_wait and state.number > 1 and not aside and all(path.startswith(f"{STAGING}/") for path in gone):
        gone += [] if state_name(state) == "complete" else [SUCCESS]
        if gone:
            await check_not_overtaken(store, state)
            await store.delete(*gone)
        return False
    await publish(store, state, schemas=schemas, removed=gone, told=told)
    for path, to in aside:
        await store.move(path, to)
    return True


async def find_garbage(store: Store, state: State, there: Collection[str] | None = None) -> list[str]:
    """Returns the files that no commit names, among those with a name that the exporter gives. `there` are those in
    the directories `SURVEYED`, as they were listed before the first commit of the run that holds the destination: what
    `state` does not name of them, no run can name any more. They are listed here if that is None.

    Files that `state` keeps for readers of older manifests are not garbage. Garbage must be deleted only under the
    destination's lock, only if `check_not_overtaken` has found nothing since, and only after the manifest was brought
    up to date with `state`, because an older manifest may still name it.
    """
    # Nearly all files are live ones, and patterns cost far more than a look at their names.
    stray = sorted(await _find_strays(store, state, there))
    garbage = [path for path in stray if path.startswith(f"{STAGING}/") or is_export_file(path)]
    garbage += unnamed(stray, state.privacy.erasures)
    spared = state.kept.union(*(dropped.files for dropped in state.dropped))
    return [path for path in garbage if path not in spared]


async def _find_strays(store: Store, state: State, there: Collection[str] | None) -> Iterable[str]:
    if there is None and isinstance(store.location, Path):
        return await to_thread.run_sync(strays_below, store.location, SURVEYED, state.by_path.names())
    return {*(await store.list_all(SURVEYED) if there is None else there)}.difference(state.live)


async def list_files(store: Store) -> list[str]:
    """Returns every file in the directories of the files that commits name."""
    return await store.list_all([kind.directory for kind in FILE_KINDS])


async def _find_aside(store: Store, state: State) -> list[tuple[str, str]]:
    """Returns the paths of files that repairs have taken out, and that still lie where they were, with the paths at
    which dropped files are kept. Files that `state` keeps for readers of older versions stay."""
    if not state.dropped:
        return []
    there = {*await list_files(store)} - state.kept - state.live.keys()
    return [
        (path, dropped_path(dropped.run, path))
        for dropped in state.dropped
        for path in sorted(there & dropped.files.keys())
    ]


async def _find_expired_leftovers(store: Store, state: State) -> list[str]:
    floors, request = state.privacy.floors, state.request
    if not floors or request is None:
        return []
    named = {path: file for dropped in state.dropped for path, file in dropped.files.items()}
    return [path for path in await store.list(DROPPED) if is_expired_leftover(path, named, floors, request)]


async def withdraw(store: Store, run: str) -> None:
    """Deletes the files of `run` that neither a commit nor the manifest names; `run` must write nothing more."""
    # The log is read again: it may have continued, and a commit whose writing failed may exist nevertheless.
    garbage = await find_garbage(store, await load_state(store))
    # A run that ends between a commit and its manifest may have replaced parts of its own that readers still find.
    manifest = await store.read(MANIFEST) or b""
    for path in garbage:
        if is_of_run(path, run) and path.encode() not in manifest:
            with suppress(StoreError):  # the next run sweeps
                await store.delete(path)
