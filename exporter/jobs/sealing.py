"""How a run leaves an export behind: without crumbs, and with a manifest that says what is there."""

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from exporter.encode.batch import Encoder
from exporter.encode.schema import table_schemas
from exporter.encode.turns import TurnsEncoder
from exporter.errors import DestinationError
from exporter.jobs.holding import Held
from exporter.jobs.tables import are_written, write_tables
from exporter.model import TURNS, TableFormat
from exporter.pipeline.committing import Committer
from exporter.pipeline.merging import merge_small_parts
from exporter.pipeline.reading import wall_clock
from exporter.pipeline.writing import PartsFactory
from exporter.progress import Observer
from exporter.store.base import Store
from exporter.store.commits import CommitLog
from exporter.store.facts import check_size
from exporter.store.layout import partition_of
from exporter.store.manifest import check_not_behind, is_sealed
from exporter.store.state import State

#: Readers pay for each part, whatever its size; from here on it is little beside what they read of it.
_LEAST_PART_BYTES: Final = 16 * 1024 * 1024


def least_part_bytes(target_bytes: int) -> int:
    """Below which size an export has no parts, where a partition could fill one; parts are closed at `target_bytes`."""
    return min(_LEAST_PART_BYTES, target_bytes // 2)


async def check_whole(store: Store, state: State) -> None:
    """What a run goes on with is there: the commits that the manifest rests on, and every part in its size.

    Raises `DamagedLogError` and `DamagedPartError`.
    """

    await check_not_behind(store, state)
    sizes = await store.sizes(state.files)
    for file in state.files.values():
        check_size(store.location / file.path, file, sizes.get(file.path))


async def is_in_order(store: Store, state: State, *, schemas: Mapping[str, pa.Schema]) -> bool:
    """Whether `put_in_order` has nothing to do, beside merging. Raises `StoreError`."""
    return await is_sealed(store, state, schemas=schemas) and await are_written(store, state)


async def seal(
    log: CommitLog,
    factory: PartsFactory,
    committer: Committer,
    observer: Observer,
    *,
    least_bytes: int,
    goes_on: bool = False,
) -> None:
    """Merges parts below `least_bytes`, and brings the manifest and the tables up to date.

    `goes_on`: another run will soon add what is created after the range. The partition that this falls into is merged
    so that what each run writes is in proportion to what it adds, and keeps some small parts until a later range ends
    beyond it. Raises `StoreError`.
    """
    range_ = log.state.range
    growing = partition_of(range_.end, factory.partition_by)[0] if goes_on and range_ else None
    await merge_small_parts(log, factory, committer, observer, least_bytes=least_bytes, growing=growing)
    await committer.write_manifest()
    await write_tables(factory.store, log.state, observer)


async def put_in_order(
    store: Store,
    held: Held,
    observer: Observer,
    clock: Callable[[], float],
    *,
    least_bytes: int,
    target_bytes: int,
    row_group_bytes: int,
    table_format: TableFormat | None = None,
) -> None:
    """Does all that a run does beside reading, to an export that has begun: sweeps what no commit names, and seals.

    `table_format`: from now on, where there is none. Raises `StoreError`.
    """
    log, request = held.log, held.log.state.request
    if request is None:
        raise DestinationError(f"{store.location}: no export here")
    await check_whole(store, log.state)
    fresh = table_format if log.state.table_format is None else None
    await log.append(committed_at=wall_clock(), kind="resume", table_format=fresh)
    encoder = Encoder(request.fields)
    committer = Committer(store, log, table_schemas(request), observer, clock)
    await committer.sweep()
    factory = PartsFactory(
        store,
        encoder,
        run=held.run,
        partition_by=request.partition_by,
        target_part_bytes=target_bytes,
        row_group_bytes=row_group_bytes,
        turns=TurnsEncoder() if TURNS in request.tables else None,
        clock=clock,
    )
    await seal(log, factory, committer, observer, least_bytes=least_bytes)
