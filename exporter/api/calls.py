"""Exports and syncs as awaitable calls, for asyncio alone, which the HTTP client needs.

A call that is cancelled loses what is not committed yet, as if it were killed; the next call goes on from there.
"""

import os

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
from exporter.options.spec import ExportSpec, Resolved
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.run.observer_guard import observed
from exporter.store.location import Location, parse_location


async def export(spec: ExportSpec, *, observer: Observer | None = None) -> Summary:
    """Reads what is missing at `spec.destination`, and commits it, as `exporter export` does.

    The summary tells what was read. Look at its `exit_status`, or at `state`, because no exception says that something
    is in quarantine or unproven. `observer` is told of progress, in the event loop; what it raises ends the call, and
    is raised here.

    Raises `ExporterError`: `UsageError`, `DestinationError` and `AccessError` before anything is touched, others after
    what had been read was committed.
    """
    understood = spec.resolve(os.environ)
    destination = _destination(spec)
    return await observed(
        observer,
        lambda told: run_export(destination, understood.asked, _context(understood, told)),
    )


async def sync(
    spec: ExportSpec,
    *,
    refilter: bool = False,
    keep_generations: int | None = None,
    observer: Observer | None = None,
) -> SyncResult:
    """Brings `spec.destination` up to the present, or makes the first export, as `exporter sync` does.

    `refilter` drops rows that the filters no longer match. `keep_generations` is the number of last runs whose replaced
    files are kept from now on. Everything else is as for `export`, except that `until` and `created_before` have no
    place here.
    """
    if spec.until is not None or spec.created_before is not None:
        raise UsageError("a sync ends at the present: leave until and created_before out")
    if keep_generations is not None and not 0 <= keep_generations <= 1000:
        raise UsageError(f"keep_generations {keep_generations}: must be from 0 to 1000")
    understood = spec.resolve(os.environ)
    destination = _destination(spec)
    return await observed(
        observer,
        lambda told: run_sync(
            destination,
            understood.asked,
            _context(understood, told),
            refilter=refilter,
            keep_generations=keep_generations,
        ),
    )


async def reread(spec: ExportSpec, *, withheld: bool = False, observer: Observer | None = None) -> RereadResult:
    """Reads what lies at `spec.destination` between `since` and `until` again, and replaces it by what comes, as
    `exporter reread` does.

    With `withheld`, only where rows came without sensitive fields. Everything else is as for `export`, except that
    filters, fields and tables are those of what is there.
    """
    understood = spec.resolve(os.environ)
    destination = _destination(spec)
    return await observed(
        observer,
        lambda told: run_reread(destination, understood.asked, _context(understood, told), withheld=withheld),
    )


def stream(spec: ExportSpec, *, observer: Observer | None = None) -> Stream:
    """Gives the rows of `spec` as Arrow record batches, which touch no disk, by the requests and proofs of an export.

        async with exporter.stream(spec) as batches:
            async for batch in batches: ...

    Each row is in exactly one batch; their order is not promised. Until the consumer takes what is there, no more is
    requested than `spec.memory` has room for. `batches.schema` is there at once, `batches.report` at the end. After the
    last batch `DoubtfulStreamError` is raised where rows fit no column or something is not proven; the report names
    them. `destination`, `partition_by`, `part_size` and `table_format` mean nothing here, and `turns` are refused. A
    stream that failed cannot be resumed.

    Raises `UsageError`; the iterator raises `ExporterError`, and what `observer` raises.
    """
    understood = spec.resolve(os.environ)
    if TURNS in (understood.asked.tables or ()):
        raise UsageError(f"a stream gives the conversations alone: leave {TURNS} out of tables")
    return run_stream(understood.asked, understood.settings, understood.credentials, observer)


def _context(understood: Resolved, observer: Observer) -> RunContext:
    return RunContext(understood.settings, understood.credentials, observer)


def _destination(spec: ExportSpec) -> Location:
    if spec.destination is None:
        raise UsageError("the spec has no destination")
    return parse_location(str(spec.destination))
