"""Exports, syncs and rereads as awaitable calls, for asyncio alone, which the HTTP client needs.

A call that is cancelled loses what is not committed yet, as if it were killed; the next call goes on from there.
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from exporter.errors import UsageError
from exporter.jobs.export import export as run_export
from exporter.jobs.reread import RereadResult
from exporter.jobs.reread import reread as run_reread
from exporter.jobs.stream import Stream
from exporter.jobs.stream import stream as run_stream
from exporter.jobs.summary import Summary
from exporter.jobs.sync import SyncResult
from exporter.jobs.sync import sync as run_sync
from exporter.model import TURNS
from exporter.options.spec import ExportSpec
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.run.observer_guard import observed
from exporter.settings import Selection
from exporter.store.location import Location, parse_location

T = TypeVar("T")


async def export(spec: ExportSpec, *, observer: Observer | None = None) -> Summary:
    """Reads what is missing at `spec.destination`, and commits it, as `exporter export` does.

    The summary tells what was read. Look at its `exit_status`, or at `state`, because no exception says that something
    is in quarantine or unproven. `observer` is told of progress, in the event loop; what it raises ends the call, and
    is raised here.

    Raises `ExporterError`: `UsageError` before anything is touched, others, such as `AccessError` for a token that was
    revoked meanwhile, after what had been read was committed.
    """
    return await _call(run_export, spec, observer)


async def sync(
    spec: ExportSpec,
    *,
    refilter: bool = False,
    keep_generations: int | None = None,
    observer: Observer | None = None,
) -> SyncResult:
    """Brings `spec.destination` up to the present, or makes the first export, as `exporter sync` does.

    `refilter` drops rows that the filters no longer match. `keep_generations` is the number of last runs whose replaced
    files are kept from now on. Everything else is as for `export`, except that `until` and `created_before` must not be
    given.
    """
    if _checked(spec).until is not None or spec.created_before is not None:
        raise UsageError("a sync ends at the present: leave until and created_before out")
    if keep_generations is not None and keep_generations not in range(1001):
        raise UsageError(f"keep_generations {keep_generations!r}: must be from 0 to 1000")
    return await _call(partial(run_sync, refilter=refilter, keep_generations=keep_generations), spec, observer)


async def reread(spec: ExportSpec, *, withheld: bool = False, observer: Observer | None = None) -> RereadResult:
    """Reads the part of `spec.destination` between `since` and `until` again, and replaces it by what comes, as
    `exporter reread` does.

    With `withheld`, it reads only where rows came without sensitive fields. Everything else is as for `export`, except
    that filters, fields and tables are those of the existing export.
    """
    return await _call(partial(run_reread, withheld=withheld), spec, observer)


def stream(spec: ExportSpec, *, observer: Observer | None = None) -> Stream:
    """Gives the rows of `spec` as Arrow record batches, which touch no disk, by the requests and proofs of an export.

        async with exporter.stream(spec) as batches:
            async for batch in batches: ...

    Each row is in exactly one batch; their order is not promised. Until the consumer takes a batch, the stream requests
    no more than `spec.memory` has room for. `batches.schema` is known at once, `batches.report` at the end. After the
    last batch, `DoubtfulStreamError` is raised if rows fit no column or something is not proven; the report names them.
    `destination`, `partition_by`, `part_size` and `table_format` mean nothing here, and `turns` are refused. A stream
    that failed cannot be resumed.

    Raises `UsageError`; the iterator raises `ExporterError`, and what `observer` raises.
    """
    resolved = _checked(spec).resolve(os.environ)
    if TURNS in (resolved.asked.tables or ()):
        raise UsageError(f"a stream gives the conversations alone: leave {TURNS} out of tables")
    return run_stream(resolved.asked, resolved.settings, resolved.credentials, observer)


def _checked(spec: ExportSpec) -> ExportSpec:
    if not isinstance(spec, ExportSpec):
        raise UsageError(f"spec: must be ExportSpec, not {type(spec).__name__}")
    return spec


async def _call(
    job: Callable[[Location, Selection, RunContext], Awaitable[T]], spec: ExportSpec, observer: Observer | None
) -> T:
    resolved = _checked(spec).resolve(os.environ)
    if spec.destination is None:
        raise UsageError("the spec has no destination")
    destination = parse_location(str(spec.destination))
    return await observed(observer, lambda told: job(destination, resolved.asked, resolved.context(told)))
