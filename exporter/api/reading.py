"""Gives what an export holds as awaitable calls, as `calls` does with commands that read the API."""

import os
from pathlib import Path

from exporter.api.arguments import checked
from exporter.jobs.change_feed import ChangeFeed
from exporter.jobs.changes import changes as find_changes
from exporter.model import CONVERSATIONS
from exporter.options.privacy import KeyOptions
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
