"""Runs the commands that change how an export is protected as awaitable calls, as `calls` does with all others."""

import os
from collections.abc import Awaitable
from pathlib import Path

from anyio import to_thread

from exporter.api.arguments import checked
from exporter.api.calls import destination_of
from exporter.jobs.protect import ProtectResult
from exporter.jobs.protect import protect as run_protect
from exporter.jobs.rekey import RekeyResult
from exporter.jobs.rekey import rekey as run_rekey
from exporter.options.privacy import find_new_key
from exporter.options.spec import ExportSpec
from exporter.progress import Observer
from exporter.run.observer_guard import observed


@checked
async def protect(spec: ExportSpec, *, observer: Observer | None = None) -> ProtectResult:
    """Brings what `spec.destination` holds under the policy in `spec.policy`, or without one finishes what was cut
    short, as `exporter protect` does. It needs no token.

    Only `policy`, `memory` and where keys are found count in the spec. Raises `ExporterError`.
    """
    destination, memory_bytes = destination_of(spec), spec.settings().memory_bytes
    file, keys = await to_thread.run_sync(spec.read_policy), spec.keys(os.environ)
    policy = None if file is None else file.policy

    def job(told: Observer) -> Awaitable[ProtectResult]:
        return run_protect(destination, policy, keys=keys, memory_bytes=memory_bytes, observer=told)

    return await observed(observer, job)


@checked
async def rekey(
    spec: ExportSpec, *, to: str, new_key_file: str | Path | None = None, observer: Observer | None = None
) -> RekeyResult:
    """Encrypts all files at `spec.destination` with the key in `new_key_file`, or else in `EXPORTER_NEW_DATA_KEY`, as
    `exporter rekey` does. It needs no token.

    `to` is the name of the new key. Only `memory` and `data_key_file` count in the spec. Raises `ExporterError`.
    """
    destination, memory_bytes = destination_of(spec), spec.settings().memory_bytes
    new_key, keys = find_new_key(to, new_key_file, os.environ), spec.keys(os.environ)

    def job(told: Observer) -> Awaitable[RekeyResult]:
        return run_rekey(destination, new_key=new_key, keys=keys, memory_bytes=memory_bytes, observer=told)

    return await observed(observer, job)
