"""Makes the report of an export, from its files and its log alone, and writes it as a page."""

from datetime import date
from functools import partial
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread

from exporter.contract import Instant
from exporter.options.parse import to_choice
from exporter.options.times import to_instant
from exporter.query.connection import open_query
from exporter.report.figures import BY_COLUMNS, MEMORY_BYTES, Wish, make_report
from exporter.report.model import Report
from exporter.report.page import draw_page
from exporter.report.place import write_page
from exporter.report.svg import check_installed
from exporter.run.encryption import ReaderKeys
from exporter.store.disk import reporting
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.zones import check_zone, load_zone

_STDOUT = Path("stdout")


async def write_report(
    destination: Location,
    output: Path | BinaryIO | None,
    *,
    now: Instant,
    keys: ReaderKeys,
    since: str | date | None = None,
    until: str | date | None = None,
    by: str | None = None,
    timezone: str | None = None,
) -> Report:
    """Returns the report of an export, and writes its page to `output` if there is one: a path that `check_place` has
    returned, or a file that is open.

    Times are as the command line takes them, from `now` and in the time zone of the report. Raises `UsageError`, also
    if a package that it needs is not installed; `DestinationError` if there is no export, `ProtectionError` without
    its key, and `StoreError`.
    """
    if output is not None:
        check_installed()
    if by is not None:
        to_choice(by, BY_COLUMNS, "--by")
    zone_name = None if timezone is None else check_zone(timezone, "--timezone")
    with await open_query(destination, keys, memory_bytes=MEMORY_BYTES) as query:
        zone_name = zone_name or query.manifest.request.timezone
        read = partial(to_instant, now=now, zone=load_zone(zone_name))
        wish = Wish(
            since=None if since is None else read(since, option="--since"),
            until=None if until is None else read(until, option="--until"),
            by=by,
            timezone=zone_name,
        )
        async with open_store(destination) as store:
            report = await make_report(query, store, wish)
    if output is not None:
        page = await to_thread.run_sync(draw_page, report)
        await to_thread.run_sync(partial(_write, output, page))
    return report


def _write(output: Path | BinaryIO, page: bytes) -> None:
    if isinstance(output, Path):
        write_page(output, page)
        return
    with reporting(_STDOUT):
        output.write(page)
        output.flush()
