"""Runs commands as awaitable calls, for asyncio alone, which the HTTP client needs.

A call that is cancelled loses what is not committed yet, as if it were killed; the next call goes on from there.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from anyio import to_thread

from exporter.api.arguments import check_arguments, checked
from exporter.clock import wall_clock
from exporter.contract import to_datetime
from exporter.engine import Engine
from exporter.engines.chosen import engine_of
from exporter.errors import UsageError
from exporter.jobs.audit import audit as run_audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.check import check as run_check
from exporter.jobs.check_result import CheckResult
from exporter.jobs.dataset import table_schema
from exporter.jobs.export import export as run_export
from exporter.jobs.plan import plan as run_plan
from exporter.jobs.plan_result import PlanResult
from exporter.jobs.reconcile import reconcile as run_reconcile
from exporter.jobs.reconcile_result import ReconcileResult
from exporter.jobs.recordings import recordings as run_recordings
from exporter.jobs.recordings_result import RecordingsResult
from exporter.jobs.reread import RereadResult
from exporter.jobs.reread import reread as run_reread
from exporter.jobs.schema import load_warehouse_table, new_schema
from exporter.jobs.status import Status
from exporter.jobs.status import status as run_status
from exporter.jobs.stream import Stream
from exporter.jobs.stream import stream as run_stream
from exporter.jobs.summary import Summary
from exporter.jobs.sync import sync as run_sync
from exporter.jobs.sync_result import SyncResult
from exporter.model import CONVERSATIONS, TABLES, TURNS
from exporter.options.dialect import for_caller
from exporter.options.parse import choose_fields, parse_share
from exporter.options.preparation import prepare
from exporter.options.recordings import choose_retried, to_retention
from exporter.options.spec import ExportSpec
from exporter.options.times import to_age
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.run.observer_guard import observed
from exporter.settings import Selection
from exporter.store.location import Location, parse_location
from exporter.words import did_you_mean
from exporter.zones import UTC_NAME, check_zone

T = TypeVar("T")


@checked
async def export(spec: ExportSpec, *, engine: Engine | None = None, observer: Observer | None = None) -> Summary:
    """Reads what is missing at `spec.destination`, and commits it, as `exporter export` does.

    With an `engine`, tasks that it runs elsewhere read what is missing, if that is much. They find the token where they
    run, so that `spec.token` is refused. The caller closes the engine.

    The summary tells what was read. Look at its `exit_status`, or at `state`, because no exception says that something
    is in quarantine or unproven. `observer` is told of progress, in the event loop; what it raises ends the call, and
    is raised here.

    Raises `ExporterError`: `UsageError` before anything is touched, others, such as `AccessError` for a token that was
    revoked meanwhile, after what had been read was committed.
    """
    return await _call(run_export, spec, observer, engine)


@checked
async def sync(
    spec: ExportSpec,
    *,
    refilter: bool = False,
    keep_generations: int | None = None,
    engine: Engine | None = None,
    observer: Observer | None = None,
) -> SyncResult:
    """Brings `spec.destination` up to the present, or makes the first export, as `exporter sync` does.

    `refilter` drops rows that the filters no longer match. `keep_generations` is the number of last runs whose replaced
    files are kept from now on. Everything else is as for `export`, except that `until` and `created_before` must not be
    given.
    """
    if spec.until is not None or spec.created_before is not None:
        raise UsageError("a sync ends at the present: leave until and created_before out")
    if keep_generations is not None and keep_generations not in range(1001):
        raise UsageError(f"keep_generations {keep_generations!r}: must be from 0 to 1000")
    return await _call(partial(run_sync, refilter=refilter, keep_generations=keep_generations), spec, observer, engine)


@checked
async def reread(spec: ExportSpec, *, withheld: bool = False, observer: Observer | None = None) -> RereadResult:
    """Reads the part of `spec.destination` between `since` and `until` again, and replaces it by what comes, as
    `exporter reread` does.

    With `withheld`, it reads only where rows came without sensitive fields. Everything else is as for `export`, except
    that filters, fields and tables are those of the existing export.
    """
    return await _call(partial(run_reread, withheld=withheld), spec, observer)


@checked
async def recordings(
    spec: ExportSpec,
    *,
    retry: Sequence[str] | str = ("failed", "expired"),
    oldest_first: bool = False,
    observer: Observer | None = None,
) -> RecordingsResult:
    """Keeps the recordings of `spec.destination`'s conversations, as `exporter recordings` does.

    `retry` are the statuses of recordings that are tried again: `failed`, `expired`, `gone`, `refused`. Only `since`,
    `until`, how to read and as whom, and the options of recordings count in the spec. The result tells what became of
    them: no exception says that some are missing. Everything else is as for `export`.
    """
    job = partial(run_recordings, retried=choose_retried(retry), oldest_first=oldest_first)
    return await _call(job, spec, observer)


@checked
async def audit(
    spec: ExportSpec,
    *,
    sample: str = "100%",
    repair: bool = False,
    delete: bool = False,
    observer: Observer | None = None,
) -> AuditResult:
    """Compares `spec.destination` with the API, as `exporter audit` does; with `repair`, fetches what differs.

    `sample` is the share to compare. `delete`, together with `repair`, drops rows whose ids the API answers with 404.
    Only `since`, `until`, and how to read and as whom count in the spec. Everything else is as for `export`.
    """
    share = parse_share(sample)
    if delete and not repair:
        raise UsageError("delete: give it together with repair")
    job = partial(run_audit, now=wall_clock(), share=share, repair=repair, delete=delete)
    return await _call(job, spec, observer)


@checked
async def check(spec: ExportSpec) -> CheckResult:
    """Tries everything that an export of `spec` would need, as `exporter check` does, and leaves nothing behind.

    The result has a finding for each thing, and the `exit_status` that the export would end with: what is wrong with
    the API, the token or the destination is not raised. Raises `UsageError` for a spec without a destination.
    """
    # A command that prints the token may take its time.
    prepared = await to_thread.run_sync(prepare, spec, os.environ)
    return await run_check(destination_of(spec), prepared)


@checked
async def reconcile(
    spec: ExportSpec, *, days_in: str | None = None, observer: Observer | None = None
) -> ReconcileResult:
    """Compares `spec.destination` with the platform's own totals, day by day, as `exporter reconcile` does.

    The days of the totals are those of the zone `days_in`; without it, those of UTC or of the export's time zone. Only
    `since`, `until`, and as whom count in the spec. No exception says that a day differs: look at `exit_status`, or at
    `unexplained`. Raises `AccessError` if the token lacks `billing:manage`; everything else is as for `export`.
    """
    zone = None if days_in is None else check_zone(days_in, "days_in")
    return await _call(partial(run_reconcile, now=wall_clock(), days_in=zone), spec, observer)


@checked
async def plan(spec: ExportSpec, *, observer: Observer | None = None) -> PlanResult:
    """Returns what a run at `spec.destination` would read and write, and how long it would take, as `exporter plan`
    does.

    It asks the API at most 20 questions, and writes nothing. Everything else is as for `export`.
    """
    return await _call(run_plan, spec, observer)


@checked
async def status(
    destination: str | Path,
    *,
    check: bool = False,
    max_age: str | int | timedelta | None = None,
    recording_retention: str | int | None = None,
) -> Status:
    """Returns what an export holds, what is missing, and which run is at work there, as `exporter status` does.

    Its `exit_status` is what the command ends with if it has `--check`, and `reason` says why. With `max_age`, a text
    such as `26h`, a number of seconds or a timedelta, that is 1 also if changes of longer ago may be missing. `check`,
    which `max_age` implies, also raises `DamagedLogError` if the manifest knows of commits that are lost. With
    `recording_retention`, a text such as `14d` or a number of seconds, `recordings.oldest_dies_at` is known.

    Raises `UsageError`, `DestinationError` if there is no export, and `StoreError`.
    """
    updated_after = None if max_age is None else to_datetime(to_age(max_age, wall_clock(), "max_age"))
    return await run_status(
        parse_location(str(destination)),
        check=check or max_age is not None,
        updated_after=updated_after,
        retention_seconds=None if recording_retention is None else to_retention(recording_retention),
    )


@checked
async def schema(of: ExportSpec | str | Path, table: str = CONVERSATIONS) -> pa.Schema:
    """Returns the columns of a table, with the key of its partitions at the end: those of the export at a destination,
    or those that an export of a spec would write.

    Raises `UsageError` for a table that does not exist, `DestinationError` if there is no export, and `StoreError`.
    """
    if isinstance(of, ExportSpec):
        fields, file = choose_fields(of.fields, of.exclude_fields), await to_thread.run_sync(of.read_policy)
        columns = new_schema(table, fields, None if file is None else file.policy)
        return table_schema(columns, of.partition_by or "day")
    stored = await load_warehouse_table(parse_location(str(of)), table)
    return table_schema(stored.schema, stored.partition_by)


def stream(spec: ExportSpec, *, table: str = CONVERSATIONS, observer: Observer | None = None) -> Stream:
    """Gives the rows of `spec` as Arrow record batches, which touch no disk, by the requests and proofs of an export.

        async with exporter.stream(spec) as batches:
            async for batch in batches: ...

    `table` is `conversations` or `turns`; turns are made of the transcripts, whatever `spec.fields` are. Each row is in
    exactly one batch; their order is not promised, except that the turns of a conversation lie together. Until the
    consumer takes a batch, the stream requests no more than `spec.memory` has room for. `batches.schema` is known at
    once, `batches.report` at the end. After the last batch, `DoubtfulStreamError` is raised if rows fit no column or
    something is not proven; the report names them. `destination`, `partition_by`, `part_size` and `table_format` mean
    nothing here, and `tables` with turns are refused. A stream that failed cannot be resumed.

    Raises `UsageError`; the iterator raises `ExporterError`, and what `observer` raises.
    """
    with for_caller():
        check_arguments(stream, spec, table=table, observer=observer)
        resolved = spec.resolve(os.environ)
        if table not in TABLES:
            raise UsageError(f"table {table!r}: the tables are {', '.join(TABLES)}.{did_you_mean(table, TABLES)}")
        if TURNS in (resolved.asked.tables or ()):
            raise UsageError(f'a stream gives one table: leave tables out, and give stream(spec, table="{TURNS}")')
        asked = resolved.asked.within(UTC_NAME)
        # A policy that cannot be kept is refused at once.
        return run_stream(
            asked,
            resolved.settings,
            resolved.credentials,
            observer,
            table=table,
            keys=resolved.keys,
            around=for_caller,
        )


async def _call(
    job: Callable[[Location, Selection, RunContext], Awaitable[T]],
    spec: ExportSpec,
    observer: Observer | None,
    engine: Engine | None = None,
) -> T:
    # It may wait for a command.
    resolved = await to_thread.run_sync(spec.resolve, os.environ)
    destination = destination_of(spec)
    with engine_of(spec.processes, engine) as chosen:
        return await observed(observer, lambda told: job(destination, resolved.asked, resolved.context(told, chosen)))


def destination_of(spec: ExportSpec) -> Location:
    """Returns where the export of a spec lies. Raises `UsageError` if it does not say."""
    if spec.destination is None:
        raise UsageError("the spec has no destination")
    return parse_location(str(spec.destination))
