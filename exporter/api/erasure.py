"""Erases somebody as an awaitable call."""

import os
from collections.abc import Sequence
from pathlib import Path

from exporter.api.arguments import checked
from exporter.clock import wall_clock
from exporter.jobs.erase import erase as run_erase
from exporter.jobs.erase_result import EraseResult
from exporter.options.privacy import KeyOptions
from exporter.progress import Observer
from exporter.run.erasure_wish import Wish
from exporter.run.observer_guard import observed
from exporter.store.location import parse_location


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
