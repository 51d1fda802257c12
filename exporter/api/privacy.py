"""Runs the commands of privacy as awaitable calls, as `calls` does with all others."""

import os
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from anyio import to_thread

from exporter.api.arguments import checked
from exporter.api.calls import destination_of
from exporter.clock import wall_clock
from exporter.jobs.erase import erase as run_erase
from exporter.jobs.erase_result import EraseResult
from exporter.jobs.expire import ExpireResult
from exporter.jobs.expire import expire as run_expire
from exporter.jobs.protect import ProtectResult
from exporter.jobs.protect import protect as run_protect
from exporter.jobs.rekey import RekeyResult
from exporter.jobs.rekey import rekey as run_rekey
from exporter.options.privacy import KeyOptions, find_new_key
from exporter.options.retention import to_ages
from exporter.options.spec import ExportSpec
from exporter.progress import Observer
from exporter.run.erasure_wish import Wish
from exporter.run.observer_guard import observed
from exporter.settings import RunSettings
from exporter.store.location import parse_location


@checked
async def protect(spec: ExportSpec, *, observer: Observer | None = None) -> ProtectResult:
    """Brings what `spec.destination` holds under the policy in `spec.policy`, or without one finishes what was cut
    short, as `exporter protect` does. It needs no token.

    Only `policy`, `memory` and where keys are found count in the spec. It encrypts nothing that is plain: a policy with
    `[encryption]` is refused unless the export is encrypted so. Raises `ExporterError`.
    """
    destination, memory_bytes = destination_of(spec), spec.settings().memory_bytes
    file, keys = await to_thread.run_sync(spec.read_policy), spec.keys(os.environ)
    policy, encryption = (None, None) if file is None else (file.policy, file.encryption)

    def job(told: Observer) -> Awaitable[ProtectResult]:
        return run_protect(
            destination, policy, encryption=encryption, keys=keys, memory_bytes=memory_bytes, observer=told
        )

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


@checked
async def expire(
    destination: str | Path,
    ages: Mapping[str, int | str] | str | Sequence[str] | None = None,
    *,
    dry_run: bool = False,
    privacy_key_file: str | Path | None = None,
    data_key_file: str | Path | None = None,
    observer: Observer | None = None,
) -> ExpireResult:
    """Deletes what is older than `destination` keeps it, as `exporter expire` does. It needs no token, and keys
    only for an export that is protected.

    `ages` are those to keep from now on, as in the spec's `expire`: `90d`, or `{"conversations": "3y"}`, or `never`.
    Without them, the stored ones count. Raises `ExporterError`, and what `observer` raises.
    """
    keys = KeyOptions(privacy_key_file=privacy_key_file, data_key_file=data_key_file).keys(os.environ)
    settings, place, asked = RunSettings(), parse_location(str(destination)), to_ages(ages)

    def job(told: Observer) -> Awaitable[ExpireResult]:
        return run_expire(
            place, now=wall_clock(), asked=asked, dry_run=dry_run, settings=settings, observer=told, keys=keys
        )

    return await observed(observer, job)


@checked
async def erase(
    destination: str | Path,
    *,
    by: str | None = None,
    values: Sequence[str] | str = (),
    ids: Sequence[str] | str = (),
    digits: bool = False,
    future: bool = False,
    mentions: bool = False,
    reference: str | None = None,
    dry_run: bool = False,
    privacy_key_file: str | Path | None = None,
    data_key_file: str | Path | None = None,
    observer: Observer | None = None,
) -> EraseResult:
    """Erases somebody from an export for good, and proves that nothing is left, as `exporter erase` does.

    Whose conversations these are is said by `values` of the column or path `by`, and by `ids` of conversations. It
    needs the privacy key, but no token. The result tells what was erased, and what is left: no exception says that.
    Raises `ExporterError`, such as `ProtectionError` without the key; none holds a value.
    """
    wish = Wish(
        by=by,
        values=_several(values),
        ids=_several(ids),
        digits=digits,
        future=future,
        mentions=mentions,
        reference=reference,
    )
    keys = KeyOptions(privacy_key_file=privacy_key_file, data_key_file=data_key_file).keys(os.environ)
    place = parse_location(str(destination))
    return await observed(observer, lambda told: run_erase(place, wish, keys, told, now=wall_clock(), dry_run=dry_run))


def _several(values: Sequence[str] | str) -> tuple[str, ...]:
    several = (values,) if isinstance(values, str) else values
    return tuple(dict.fromkeys(text for value in several if (text := value.strip())))
