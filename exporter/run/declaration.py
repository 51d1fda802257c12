"""Declares in the log what an export will become, before a run reads anything."""

from functools import partial

from exporter.clock import wall_clock
from exporter.coverage import Coverage, Interval
from exporter.log.privacy import PrivacyChange
from exporter.log.state import State
from exporter.model import Change, TableFormat
from exporter.run.claim import Claim
from exporter.run.connect import Connection, knows_hidden
from exporter.settings import FileMode


async def declare(
    claim: Claim,
    connection: Connection,
    range_: Interval,
    keep_generations: int | None,
    table_format: TableFormat | None,
    file_mode: FileMode | None,
    keeps_recordings: bool | None,
    privacy: PrivacyChange | None,
) -> Coverage:
    """Puts into the log what this export will become, and that this run now holds it. If the first page of the run has
    shown that there is nothing to read, this covers it, which is returned.

    A run that was overtaken because locks do not reach it fails at its next commit; what it has published until then is
    swept. Without a commit at the start, it could still commit files that the sweep has deleted.
    """
    log = claim.log
    append = partial(
        log.append,
        committed_at=wall_clock(),
        keep_generations=keep_generations,
        table_format=table_format if log.state.table_format is None else None,
        file_mode=await claim.set_file_mode(file_mode),
        keeps_recordings=None if keeps_recordings == log.state.keeps_recordings else keeps_recordings,
    )
    if log.state.range is None:
        await append(kind="begin", request=connection.request, range=range_, privacy=privacy)
    elif log.state.range != range_:
        empty = _shown_empty(log.state, connection, range_)
        change = Change(
            covers=empty.intervals, read_since=connection.opening.top_since, organization=connection.organization
        )
        await append(kind="widen", range=range_, change=change if empty else Change())
        return empty
    else:
        await append(kind="resume")
    if log.state.number > 1 and log.state.left:
        connection.context.observer.note("going on", commits=log.state.number, files=len(log.state.files))
    return Coverage()


def _shown_empty(state: State, connection: Connection, range_: Interval) -> Coverage:
    """Returns all of the range that is not covered yet, if no row was created there; otherwise nothing."""
    left = Coverage([range_]) - state.coverage
    is_hidden = connection.opening.is_hidden or knows_hidden(state, connection.request)
    if is_hidden or len(connection.reader.lists) > 1:
        return Coverage()
    is_empty = not left - connection.opening.shown_empty(connection.context.lag, state.newest_row)
    return left if is_empty else Coverage()
