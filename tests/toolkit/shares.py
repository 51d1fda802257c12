"""Makes the shares that a driver would send to workers, and reads what their tasks have staged."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from anyio import to_thread

from exporter.bearer import TokenPlace
from exporter.contract import BEGINNING, DAY, Instant
from exporter.coverage import Interval
from exporter.engines.work import work
from exporter.log.privacy import Privacy
from exporter.pipeline.scan import Scan
from exporter.run.share import (
    Facts,
    KeyPlaces,
    Outcome,
    ReadSettings,
    Share,
    decode_outcome,
    encode,
)
from exporter.settings import Request, RunSettings
from exporter.store.local.store import LocalStore

BEACON: Final = "_exporter/staging/run-beacon.partial"
NONCE: Final = "the nonce of this run"
_DEFAULTS: Final = RunSettings()


async def prepare(root: Path) -> LocalStore:
    """Makes a directory what a driver's destination is before the first task."""
    store = LocalStore(root)
    await store.prepare()
    await store.replace(BEACON, NONCE.encode())
    return store


def share_of(
    url: str,
    root: Path,
    *windows: Interval,
    now: Instant,
    task: str = "run-t000001-abcdef",
    scan: Scan | None = None,
    settings: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    **more: Any,
) -> Share:
    """Returns a share of these windows; what is not given is as an export has it by default."""
    copied = ("ca_file", "concurrency", "max_rps", "wait_seconds", "page_size", "target_part_bytes", "memory_bytes")
    read = {name: getattr(_DEFAULTS, name) for name in (*copied, "hydrate")}
    values: dict[str, Any] = {
        "run": "run",
        "task": task,
        "destination": str(root),
        "file_mode": "private",
        "request": Request(),
        "settings": ReadSettings(base_url=url, insecure_http=False, **{**read, **(settings or {})}),
        "scan": msgspec.structs.replace(scan or Scan(range=Interval(BEGINNING, now)), windows=windows),
        "facts": Facts(now=now, **{"oldest": max(windows[0].start, now - 9 * DAY), **(facts or {})}),
        "privacy": Privacy(),
        "token": TokenPlace(),
        "keys": KeyPlaces(),
        "budget_seconds": 60.0,
        "beacon": BEACON,
        "nonce": NONCE,
    }
    return Share(**{**values, **more})


async def outcome_of(share: Share) -> Outcome:
    """Returns what `work` makes of a share, in a thread, as an engine may run it."""
    return decode_outcome(await to_thread.run_sync(partial(work, encode(share))))


def staged_tables(root: Path, *outcomes: Outcome) -> Iterable[pa.Table]:
    """Yields the parts of conversations that the changes name, each from where it is staged."""
    for outcome in outcomes:
        for file in () if outcome.change is None else outcome.change.adds:
            if file.table == "conversations":
                yield pq.ParquetFile(root / outcome.staged[file.path]).read()


def staged_ids(root: Path, *outcomes: Outcome) -> list[str]:
    """Returns the ids of the conversations that are staged, sorted."""
    return sorted(one for table in staged_tables(root, *outcomes) for one in table["id"].to_pylist())
