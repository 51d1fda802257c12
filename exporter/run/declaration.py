"""Declares in the log what an export will become, before a run reads anything."""

from functools import partial

from exporter.clock import wall_clock
from exporter.coverage import Interval
from exporter.log.privacy import PrivacyChange
from exporter.model import TableFormat
from exporter.run.claim import Claim
from exporter.run.connect import Connection
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
) -> None:
    """Puts into the log what this export will become, and that this run now holds it.

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
        await append(kind="widen", range=range_)
    else:
        await append(kind="resume")
    if log.state.number > 1 and log.state.left:
        connection.context.observer.note("going on", commits=log.state.number, files=len(log.state.files))
