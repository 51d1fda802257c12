"""`exporter export` brings a destination to what was asked for, from whatever state it is in."""

from exporter.errors import DestinationError
from exporter.jobs.summary import Summary, summarize
from exporter.lake.follow import settle_table_format
from exporter.model import Counters, TableFormat
from exporter.run.claim import holding
from exporter.run.clocks import is_ahead
from exporter.run.connect import connected, find_stored
from exporter.run.context import RunContext
from exporter.run.finish import check_whole, has_asked_mode, is_in_order, put_in_order, seal
from exporter.run.reconcile import asks_for_more, check_file_mode, known_end
from exporter.run.record import Run, recorded
from exporter.run.repeats import settle
from exporter.run.session import claimed
from exporter.settings import FileMode, Request, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store


async def export(destination: Location, asked: Selection, context: RunContext) -> Summary:
    """Reads what is missing of what was asked for, and commits it.

    Raises `ExporterError`: before anything is touched if the request, the destination, the token or the host is wrong;
    otherwise after everything that was read has been committed.
    """
    check_file_mode(asked, destination)
    async with open_store(destination) as store:
        await store.check()
        summary = await recorded(store, "export", lambda run: _export(store, run, asked, context))
        return summary.with_end(asked.until, context.lag)


async def _export(store: Store, run: Run, asked: Selection, context: RunContext) -> Summary:
    destination = store.location
    found, request, asked = await find_stored(store, run, asked)
    table_format = settle_table_format(found, asked, destination)
    if found.range is not None and found.is_whole and not asks_for_more(found.range, asked) and not is_ahead(found):
        has_modes = await has_asked_mode(store, found, asked.file_mode)
        if table_format == found.table_format and has_modes and await is_in_order(store, found):
            await check_whole(store, found)
            return summarize(destination, found, found, Counters())
        return await _seal_whole(store, run, request, table_format, asked.file_mode, context)
    async with (
        connected(request, found, known_end(found, asked), context, run) as connection,
        claimed(store, run, connection, asked, connection.latest) as session,
    ):
        await session.read_what_is_left()
        await settle(session)
        await seal(session.log, session.stage, session.committer, context.observer)
        return summarize(destination, session.before, session.log.state, session.spent)


async def _seal_whole(
    store: Store,
    run: Run,
    request: Request,
    table_format: TableFormat | None,
    file_mode: FileMode | None,
    context: RunContext,
) -> Summary:
    """Seals an export of which everything was read, because a run was killed before it could, or for what is new."""
    async with holding(store, run) as claim:
        log, before = claim.log, claim.log.state
        if not before.is_whole or before.request != request or before.table_format not in (None, table_format):
            raise DestinationError(f"{store.location}: another run has changed the export meanwhile; run again")
        await put_in_order(
            claim,
            context.settings,
            context.observer,
            context.clock,
            table_format=table_format,
            file_mode=file_mode,
        )
        return summarize(store.location, before, log.state, Counters())
