"""Reads what was overlooked, where a run learns only later that the API hides a status (source.md, 7)."""

import msgspec

from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import merge_spool
from exporter.run.session import Session


async def read_overlooked(session: Session) -> None:
    """Reads the list of a hidden status for all that was covered before that was known, and commits what it has.

    It comes before anything else that tells the log of that status, so that a run that is cut short leaves this to the
    next one. What has left the status meanwhile is told by its time of update. Raises the errors of `Session.read`, and
    `StoreError`.
    """
    state, stage, status = session.log.state, session.stage, session.scan.hidden_status
    is_known = status in state.hidden_statuses and not state.overlooks_hidden
    if status is None or is_known or not state.coverage:
        return
    spool = Spool(session.homes(), session.guard)
    into = SpoolSink(stage, spool, reading=1)
    await session.read(state.coverage, into, oldest=state.oldest_row, prefers_hidden=True)
    change, _ = await merge_spool(spool, state, stage, session.committer, gone={}, hydrator=session.hydrator)
    change = msgspec.structs.replace(change, hidden_status=status, shows_hidden=True)
    await session.committer.commit(change, session.spent)
    if spool.paths or change.quarantines:
        await session.committer.sweep()  # what was put aside
