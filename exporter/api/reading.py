"""Gives what an export holds as awaitable calls, as `calls` does with commands that read the API."""

import os
from datetime import date
from pathlib import Path

from exporter.api.arguments import checked
from exporter.clock import wall_clock
from exporter.jobs.change_feed import ChangeFeed
from exporter.jobs.changes import changes as find_changes
from exporter.model import CONVERSATIONS
from exporter.options.privacy import KeyOptions
from exporter.report.model import Report
from exporter.run.encryption import reader_keys
from exporter.store.location import parse_location


@checked
async def changes(
    destination: str | Path,
    *,
    since: int,
    to: int | None = None,
    table: str = CONVERSATIONS,
    data_key_file: str | Path | None = None,
) -> ChangeFeed:
    """Returns what has changed since a generation, net, as `exporter changes` does: the batches come when you iterate.

    `since` is the generation that the caller has, or 0 for all rows; `to` is the one to which changes are given, by
    default the latest. `table` is `conversations` or `turns`. The key of encrypted files is in the file
    `data_key_file`, or else in `EXPORTER_DATA_KEY`. The call needs no token.

    Raises `ChangesGoneError` if the changes since then are no longer known: take all rows then, since 0. Otherwise
    `UsageError`, `DestinationError` if there is no export, `ProtectionError` without the key, and `StoreError`.
    """
    keys = KeyOptions(data_key_file=data_key_file).keys(os.environ)
    return await find_changes(parse_location(str(destination)), since, to=to, table=table, keys=keys)


@checked
async def make_report(
    destination: str | Path,
    output: str | Path | None = None,
    *,
    since: str | date | None = None,
    until: str | date | None = None,
    by: str | None = None,
    timezone: str | None = None,
    data_key_file: str | Path | None = None,
) -> Report:
    """Returns what an export holds in figures, and writes them as a page to `output`, as `exporter report` does.

    `output` is a new file, or an older report, which it replaces; by default no page is written. `since` and `until`
    bound `created_at`; `by` is a field, such as `agent_id`, and `timezone` is by default that of the partitions. In the
    figures, times are texts in that time zone, durations are in seconds, and shares are from 0 to 1. The call needs no
    token, and the extra `report`.

    Raises `UsageError`, also if a package is missing, `DestinationError` if there is no export, `ProtectionError`
    without its key, and `StoreError`.
    """
    # DuckDB is loaded by those who ask for a report.
    from exporter.report.place import check_place
    from exporter.report.write import write_report

    where = parse_location(str(destination))
    return await write_report(
        where,
        None if output is None else check_place(str(output), where),
        now=wall_clock(),
        keys=reader_keys(data_key_file, os.environ),
        since=since,
        until=until,
        by=by,
        timezone=timezone,
    )
