"""`exporter sync` brings an export up to the present, with everything that has changed since it was read.

Its order lets a run that is killed anywhere repeat without harm: what is missing is read and committed as by an export;
then everything that was updated since `updates_since` is read, put aside, and merged into the parts that hold it by one
commit, which also says how far the data is known to be up to date.
"""

from typing import TYPE_CHECKING

from exporter.errors import UsageError
from exporter.lake.follow import check_place, settle_table_format
from exporter.run.claim import Claim, holding
from exporter.run.connect import connected, find_stored, mention_withheld
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher
from exporter.run.protection import settle_policy
from exporter.run.reconcile import (
    changing_filters,
    check_file_mode,
    in_stored_zone,
    settle_request,
)
from exporter.run.record import Run, recorded
from exporter.settings import Request, Selection
from exporter.store.location import Location
from exporter.store.open import open_store

if TYPE_CHECKING:
    from exporter.jobs.sync_result import SyncResult


async def sync(
    destination: Location,
    asked: Selection,
    context: RunContext,
    *,
    refilter: bool = False,
    keep_generations: int | None = None,
) -> "SyncResult":
    """Brings an export up to the present, or makes the first one. `refilter` drops rows that filters no longer match.

    Raises the errors of `jobs.export.export`, `AccessError` for a token that sees fewer fields than the data has, and
    `UsageError` for filters on what changes without `refilter`.
    """
    check_file_mode(asked, destination)
    check_place(asked.table_format, destination)
    async with open_store(destination) as store:
        await store.check()

        async def work(run: Run) -> "SyncResult":
            # These refuse before the lock is taken, which would make a directory in any case.
            stored, _, asked_there = await find_stored(store, run, asked, context.keys)
            settle_table_format(stored, asked_there, destination)
            async with holding(store, run, find_cipher(context.keys, destination, asked)) as claim:
                return await _sync(claim, run, asked, context, refilter, keep_generations)

        return await recorded(store, "sync", work)


async def _sync(
    claim: Claim, run: Run, asked: Selection, context: RunContext, refilter: bool, keep_generations: int | None
) -> "SyncResult":
    found, location = claim.log.state, claim.store.location
    asked = in_stored_zone(found, asked)
    settle_policy(found, asked, location, context.keys)
    request = settle_request(found, asked, location)
    if settle_table_format(found, asked, location) and keep_generations is not None:
        raise UsageError("--keep-generations: with a table format, all that is replaced is kept until a vacuum")
    if not refilter:
        _check_filters(request)
    async with connected(request, found, None, context, run, looks_closely=False) as connection:
        await mention_withheld(claim, connection)

        from exporter.jobs.sync_steps import read

        return await read(claim, connection, run, asked, context, refilter, keep_generations)


def _check_filters(request: Request) -> None:
    changing = changing_filters(request)
    if changing:
        raise UsageError(
            f"the export is filtered by {', '.join(changing)}, which may change: rows can leave it and enter it. "
            "Give --refilter to drop what the filters no longer match, or sync an export without them"
        )
