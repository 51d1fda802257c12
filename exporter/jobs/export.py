"""`exporter export`: brings a destination to what was asked for, from wherever it stands."""

import time
from collections.abc import Callable

from exporter.contract import SECOND
from exporter.errors import DestinationError
from exporter.jobs.summary import Summary, summarize
from exporter.lake.follow import settle_table_format
from exporter.log.commits import load_state
from exporter.model import Counters, TableFormat
from exporter.progress import Observer
from exporter.run.claim import holding
from exporter.run.clocks import is_ahead, take_back
from exporter.run.finish import check_whole, is_in_order, put_in_order, seal
from exporter.run.reconcile import asks_for_more, known_end, settle_range, settle_request
from exporter.run.record import Run, recorded
from exporter.run.repeats import settle
from exporter.run.session import Session, ask_first, connected, mention_withheld
from exporter.settings import Credentials, Request, RunSettings, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store


async def export(
    destination: Location,
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Reads what is missing of what was asked for, and commits it. `clock`: seconds, as the event loop counts them.

    Raises `ExporterError`: before anything is touched when the request, the destination, the token or the host is
    wrong; else after everything that was read has been committed.
    """
    async with open_store(destination) as store:
        await store.check()
        return await recorded(
            store, "export", lambda run: _export(store, run, asked, settings, credentials, observer, clock)
        )


async def _export(
    store: Store,
    run: Run,
    asked: Selection,
    settings: RunSettings,
    credentials: Credentials,
    observer: Observer,
    clock: Callable[[], float],
) -> Summary:
    destination = store.location
    found = await load_state(store)
    run.saw(found)
    request = settle_request(found, asked, destination)
    table_format = settle_table_format(found, asked, destination)
    if found.range is not None and found.is_whole and not asks_for_more(found.range, asked) and not is_ahead(found):
        if table_format == found.table_format and await is_in_order(store, found):
            await check_whole(store, found)
            return summarize(destination, found, found, Counters())
        return await _seal_what_is_there(store, run, request, table_format, settings, observer, clock)
    async with connected(
        settings, credentials, request.filters, request.fields, observer, clock, tables=request.tables
    ) as reader:
        run.spent = lambda: reader.counters
        opening = await ask_first(reader, found, request, known_end(found, asked), settings, observer)
        lag = settings.lag_seconds * SECOND
        latest = opening.now.end(lag)
        settle_range(found, asked, latest)
        async with holding(store, run) as held:
            await take_back(held.log, opening.now, lag, observer)
            before = held.log.state
            if settle_request(before, asked, destination) != request:
                raise DestinationError(f"{destination}: another run has begun an export here meanwhile; run again")
            range_ = settle_range(before, asked, latest)
            await mention_withheld(store, before, opening, reader, observer)
            session = await Session.begin(
                store,
                held,
                request,
                range_,
                reader,
                opening,
                settings,
                observer,
                clock,
                table_format=settle_table_format(before, asked, destination),
            )
            await session.read(session.log.state.left, density=opening.density)
            await settle(session, before)
            await seal(session.log, session.stage, session.committer, observer)
            return summarize(destination, before, session.log.state, session.spent)


async def _seal_what_is_there(
    store: Store,
    run: Run,
    request: Request,
    table_format: TableFormat | None,
    settings: RunSettings,
    observer: Observer,
    clock: Callable[[], float],
) -> Summary:
    """For an export of which everything was read, by a run that did not live to seal it."""
    async with holding(store, run) as held:
        log, before = held.log, held.log.state
        if not before.is_whole or before.request != request or before.table_format not in (None, table_format):
            raise DestinationError(f"{store.location}: another run has changed the export meanwhile; run again")
        await put_in_order(
            store,
            held,
            observer,
            clock,
            target_bytes=settings.target_part_bytes,
            memory_bytes=settings.memory_bytes,
            open_windows=settings.concurrency,
            table_format=table_format,
        )
        return summarize(store.location, before, log.state, Counters())
