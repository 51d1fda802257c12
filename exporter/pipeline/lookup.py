"""Finds where the rows with some ids are, and which ids are in more than one place, whatever the number of rows.

An id has a home by its `created_at`, and that may change (source.md, 15): then the row is served elsewhere, and nothing
says where it was. So the ids of other parts must be looked at. Only the column of ids is read, about 22 bytes a row if
they are random; if ids grow with time, the statistics of a row group show that it has none of them. For 10 million
random ids that is 220 MB: looking some up takes a second or two, and comparing all with one another takes five. Nothing
is read unless a row has arrived at a place that is new to it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
from anyio import CapacityLimiter, to_thread

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.encode.exact import NO_ID
from exporter.log.quarantine import quarantined_versions
from exporter.log.state import State
from exporter.model import DataFile, QuarantineFile
from exporter.parts.ids import Hashes, Span, hash_ids, ids_among, ids_in, read_ids
from exporter.parts.merge import Version
from exporter.parts.versions import VERSION_COLUMNS, versions_in
from exporter.pipeline.compaction import MERGED_AT_ONCE
from exporter.pipeline.part_columns import columns_of
from exporter.pipeline.quarantine_files import read_lines
from exporter.pipeline.spool_sink import Spool
from exporter.store.base import Store
from exporter.tasks import for_each

#: At most this many ids that are in more than one place are remembered at a time.
MOST_REPEATED: Final = 100_000


class Copy(NamedTuple):
    """Is one of several rows with the same id. `is_row` says that it is in the table, and not in quarantine."""

    is_row: bool
    created_at: Instant
    updated_at: Instant | None


class Repeated(msgspec.Struct, frozen=True):
    """Holds the `copies` of each id that several rows have. `surplus` counts, by id, the rows beyond the first one that
    the table had before the run."""

    copies: Mapping[str, Sequence[Copy]]
    surplus: Mapping[str, int]

    @classmethod
    def of(cls, copies: Mapping[str, Sequence[Copy]], before: Coverage) -> "Repeated":
        """Returns `copies` with their surplus; `before` was covered before the run."""
        rows = Counter(
            name for name, found in copies.items() for each in found if each.is_row and each.created_at in before
        )
        return cls(copies, {name: count - 1 for name, count in rows.items() if count > 1})


NOTHING_REPEATED: Final = Repeated({}, {})


async def find_ids(
    store: Store, files: Iterable[DataFile], wanted: Collection[str], limiter: CapacityLimiter
) -> dict[str, set[str]]:
    """Returns which of the `wanted` ids each part has, by path. Raises `StoreError`."""
    found: dict[str, set[str]] = {}
    ids = pa.array(sorted(wanted), pa.string())
    span = Span()
    span.widen(ids)

    async def look(file: DataFile) -> None:
        async with columns_of(store, file, VERSION_COLUMNS) as part:
            if there := await to_thread.run_sync(ids_among, part, ids, span, limiter=limiter):
                found[file.path] = there

    await for_each(files if wanted else (), look, at_once=MERGED_AT_ONCE)
    return found


async def find_repeated(store: Store, state: State, limiter: CapacityLimiter) -> dict[str, list[Copy]]:
    """Returns the copies of each id that more than one row has: of all such ids where `state` is unsettled, but at
    most `MOST_REPEATED`.

    Raises `StoreError`.
    """

    if not state.unsettled:
        return {}

    def is_fresh(window: Interval | None) -> bool:
        return window is None or bool(Coverage([window]) & state.unsettled)

    fresh = [file for file in state.conversations if is_fresh(file.window)]
    if not fresh and not any(is_fresh(file.window) for file in state.quarantine.values()):
        return {}
    known = [file for file in state.conversations if not is_fresh(file.window)]
    quarantined = [row for _, file in sorted(state.quarantine.items()) for row in await _quarantined(store, file)]
    span = Span()
    span.widen(pa.array([row[0] for row in quarantined], pa.string()))
    with Hashes() as hashes:
        hashes.add(hash_ids(pa.array([row[0] for row in quarantined], pa.string())))

        def take(part: Path, within: Span | None) -> None:
            for ids in read_ids(part, within):
                if within is None:
                    span.widen(ids)
                hashes.add(hash_ids(ids))

        async def take_fresh(file: DataFile) -> None:
            async with columns_of(store, file, VERSION_COLUMNS) as part:
                await to_thread.run_sync(take, part, None, limiter=limiter)

        async def take_known(file: DataFile) -> None:
            async with columns_of(store, file, VERSION_COLUMNS) as part:
                await to_thread.run_sync(take, part, span, limiter=limiter)

        await for_each(fresh, take_fresh, at_once=1)
        await for_each(known, take_known, at_once=MERGED_AT_ONCE)
        suspicious = await to_thread.run_sync(hashes.repeated, MOST_REPEATED, limiter=limiter)
    found: dict[str, list[Copy]] = {}
    for identity, created_at, updated_at in quarantined:
        if hash(identity) in suspicious:
            found.setdefault(identity, []).append(Copy(False, created_at, updated_at))

    def look_into(part: Path) -> None:
        for identity, created_at, updated_at in versions_in([part]):
            if hash(identity) in suspicious:
                found.setdefault(identity, []).append(Copy(True, created_at, updated_at))

    for file in (*fresh, *known) if suspicious else ():
        async with columns_of(store, file, VERSION_COLUMNS) as part:
            await to_thread.run_sync(look_into, part, limiter=limiter)
    return {identity: copies for identity, copies in found.items() if len(copies) > 1}


async def _quarantined(store: Store, file: QuarantineFile) -> Iterator[tuple[str, Instant, Instant | None]]:
    return (row for row in quarantined_versions(await read_lines(store, file)) if not row[0].startswith(NO_ID))


async def find_places(
    store: Store, files: Iterable[DataFile], wanted: Collection[str], spooled: Iterable[Path], limiter: CapacityLimiter
) -> dict[str, list[Instant]]:
    """Returns where parts have those of the `wanted` ids that were read again, as `spooled` parts show: `created_at` by
    id. Raises `StoreError`."""
    seen = await to_thread.run_sync(ids_in, spooled, wanted, limiter=limiter) if wanted else set[str]()
    places: dict[str, list[Instant]] = {}
    if not seen:
        return places

    def look_into(part: Path) -> None:
        for identity, created_at, _ in versions_in([part]):
            if identity in seen:
                places.setdefault(identity, []).append(created_at)

    files = list(files)
    found = await find_ids(store, files, seen, limiter)
    for file in files:
        if file.path in found:
            async with columns_of(store, file, VERSION_COLUMNS) as part:
                await to_thread.run_sync(look_into, part, limiter=limiter)
    return places


def find_shown_elsewhere(spool: Spool) -> dict[Interval, set[str]]:
    """Returns the ids that moved from home to home while they were read, by each home except the one that counts."""
    with Hashes() as hashes:
        for path in spool.paths:
            for ids in read_ids(path):
                hashes.add(hash_ids(ids))
        suspicious = hashes.repeated(MOST_REPEATED)
    shown: dict[str, list[tuple[Version, Interval]]] = {}
    for interval, parts in spool.parts.items() if suspicious else ():
        for part in parts:
            for identity, created_at, updated_at in versions_in([part.path]):
                if hash(identity) in suspicious:
                    version = Version(part.reading, created_at, updated_at)
                    shown.setdefault(identity, []).append((version, interval))
    elsewhere: dict[Interval, set[str]] = {}
    for identity, versions in shown.items():
        _, home = max(versions, key=lambda one: one[0].rank)
        for interval in {interval for _, interval in versions} - {home}:
            elsewhere.setdefault(interval, set()).add(identity)
    return elsewhere
