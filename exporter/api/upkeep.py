"""Runs the commands that keep an export in order as awaitable calls, as `calls` does with all others."""

import os
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path

from exporter.api.arguments import checked
from exporter.api.calls import destination_of
from exporter.clock import wall_clock
from exporter.contract import SECOND
from exporter.errors import UsageError
from exporter.jobs.accept import AcceptResult
from exporter.jobs.accept import accept as run_accept
from exporter.jobs.compact import CompactResult
from exporter.jobs.compact import compact as run_compact
from exporter.jobs.convert import ConvertResult, choose_text
from exporter.jobs.convert import convert as run_convert
from exporter.jobs.table_output import parse_output
from exporter.jobs.vacuum import VacuumResult
from exporter.jobs.vacuum import vacuum as run_vacuum
from exporter.jobs.verify import VerifyResult
from exporter.jobs.verify import verify as run_verify
from exporter.model import CONVERSATIONS
from exporter.options.parse import parse_share
from exporter.options.privacy import KeyOptions
from exporter.options.spec import ExportSpec
from exporter.options.times import to_seconds
from exporter.progress import Observer
from exporter.run.observer_guard import observed
from exporter.settings import Compression, TextFormat
from exporter.store.location import parse_location


@checked
async def compact(spec: ExportSpec, *, observer: Observer | None = None) -> CompactResult:
    """Merges small files at `spec.destination`, as `exporter compact` does. It needs no token.

    Only `part_size`, `memory` and where keys are found count in the spec. Raises `ExporterError`.
    """
    settings, destination = spec.settings(), destination_of(spec)

    def job(told: Observer) -> Awaitable[CompactResult]:
        return run_compact(
            destination,
            target_bytes=settings.target_part_bytes,
            memory_bytes=settings.memory_bytes,
            observer=told,
            keys=spec.keys(os.environ),
        )

    return await observed(observer, job)


@checked
async def accept(destination: str | Path, *, note: str | None = None, dry_run: bool = False) -> AcceptResult:
    """Records that what an export has in doubt is known, by this process's user, as `exporter accept` does.

    `note` says why, in one line. It needs no token. Raises `ExporterError`, such as `DestinationError` if there is no
    export.
    """
    return await run_accept(parse_location(str(destination)), now=wall_clock(), note=note, dry_run=dry_run)


@checked
async def verify(
    destination: str | Path,
    *,
    sample: str = "100%",
    media: bool = False,
    repair: bool = False,
    bytes_only: bool = False,
    data_key_file: str | Path | None = None,
) -> VerifyResult:
    """Checks every file of an export against its log, as `exporter verify` does. It needs no token.

    `sample` is the share of the files whose content is read; `media` also reads the recordings that these name.
    `repair` takes out what is wrong, so that the next export reads it again. Without the key of an encrypted export, or
    with `bytes_only`, files are compared with their sums, and not looked into. The result tells what was found: no
    exception says that something is damaged. Raises `DestinationError` if there is no export, and `StoreError`.
    """
    share, keys = parse_share(sample), KeyOptions(data_key_file=data_key_file).keys(os.environ)
    if bytes_only and (repair or media):
        raise UsageError(f"bytes_only: does not go with {'repair' if repair else 'media'}")
    return await run_verify(
        parse_location(str(destination)),
        now=wall_clock(),
        share=share,
        media=media,
        repair=repair,
        bytes_only=bytes_only,
        keys=keys,
    )


@checked
async def vacuum(
    destination: str | Path,
    *,
    older_than: str | int | timedelta = "7d",
    dry_run: bool = False,
    data_key_file: str | Path | None = None,
) -> VacuumResult:
    """Deletes files that were replaced longer ago than `older_than`, and recordings that no row names, as `exporter
    vacuum` does. It needs no token.

    `older_than` is a text such as `36h`, a number of seconds or a timedelta. Raises `ExporterError`.
    """
    seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else to_seconds(older_than, "older_than")
    now = wall_clock()
    # So that 0 seconds also delete what was replaced in this very microsecond.
    before = now + 1 - round(seconds * SECOND)
    keys = KeyOptions(data_key_file=data_key_file).keys(os.environ)
    return await run_vacuum(parse_location(str(destination)), before=before, now=now, dry_run=dry_run, keys=keys)


@checked
async def convert(
    destination: str | Path,
    output: str | Path,
    *,
    table: str = CONVERSATIONS,
    format: TextFormat | None = None,  # noqa: A002 - as the command line has it
    compression: Compression | None = None,
    by_partition: bool = False,
    data_key_file: str | Path | None = None,
    observer: Observer | None = None,
) -> ConvertResult:
    """Writes a table of an export as CSV or JSON Lines, as `exporter convert` does. It needs no token.

    `output` is a new file or, `by_partition`, a new directory; nothing is left there if the call fails. `format` and
    `compression` are by default what the name ends with, otherwise CSV and none. Raises `ExporterError`, such as
    `UsageError` if there is something at `output`.
    """
    where, to = parse_location(str(destination)), str(output)
    form, chosen = choose_text(to, format, compression, by_partition)
    path = parse_output(to, where)
    keys = KeyOptions(data_key_file=data_key_file).keys(os.environ)

    def job(told: Observer) -> Awaitable[ConvertResult]:
        return run_convert(
            where,
            path,
            table=table,
            as_=form,
            compression=chosen,
            by_partition=by_partition,
            keys=keys,
            observer=told,
        )

    return await observed(observer, job)
