"""`exporter export` brings a destination to what was asked for, from whatever state it is in.

What asks the first question comes first: whatever reads or writes rows is loaded when the API has answered.
"""

from typing import TYPE_CHECKING, Final

from exporter.lake.follow import check_place, settle_table_format
from exporter.log.state import State
from exporter.run.claim import holding
from exporter.run.clocks import is_ahead
from exporter.run.connect import connected, find_stored, mention_withheld
from exporter.run.context import RunContext
from exporter.run.encryption import find_cipher
from exporter.run.protection import settle_policy
from exporter.run.reconcile import asks_for_more, check_file_mode, in_stored_zone, known_end, settle_request
from exporter.run.record import Run, recorded
from exporter.settings import Request, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary


#: What reads and writes rows.
_STEPS: Final = "exporter.jobs.export_steps"


async def export(destination: Location, asked: Selection, context: RunContext) -> "Summary":
    """Reads what is missing of what was asked for, and commits it.

    Raises `ExporterError`: before anything is touched if the request, the destination, the token or the host is wrong;
    otherwise after everything that was read has been committed.
    """
    check_file_mode(asked, destination)
    check_place(asked.table_format, destination)
    async with open_store(destination) as store:
        await store.check()
        summary = await recorded(store, "export", lambda run: _export(store, run, asked, context))
        return summary.with_end(asked.within((summary.request or Request()).timezone).until, context.lag)


async def _export(store: Store, run: Run, asked: Selection, context: RunContext) -> "Summary":
    destination = store.location
    found, _, asked_there = await find_stored(store, run, asked, context.keys)
    # These refuse a table that cannot be, and a key that is wrong, before anything is made or read.
    settle_table_format(found, asked_there, destination)
    cipher_of = find_cipher(context.keys, destination, asked)
    cipher_of(found)
    if _has_all(found, asked_there):
        from exporter.jobs.export_steps import summarize_idle

        if (idle := await summarize_idle(store, found, asked_there, context)) is not None:
            return idle
    async with holding(store, run, cipher_of) as claim:
        before = claim.log.state
        asked = in_stored_zone(before, asked)
        settle_policy(before, asked, destination, context.keys)
        request = settle_request(before, asked, destination)
        if _has_all(before, asked):
            from exporter.jobs.export_steps import put_right

            return await put_right(claim, run, asked, context)
        until = known_end(before, asked)
        async with connected(
            request, before, until, context, run, looks_closely=False, then_loads=_STEPS
        ) as connection:
            await mention_withheld(claim, connection)

            from exporter.jobs.export_steps import read

            return await read(claim, connection, run, asked, context)


def _has_all(state: State, asked: Selection) -> bool:
    """Returns whether everything that is asked for was read."""
    return state.range is not None and state.is_whole and not asks_for_more(state.range, asked) and not is_ahead(state)
