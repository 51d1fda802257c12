"""Takes away what may remain of rows that are gone for good, where the run that was to delete it was cut short.

The log names such files no longer. Whether they still lie there, it does not say: so whatever run comes next deletes
them, unless the journal says that the run before it ended as it should.
"""

from exporter.clock import wall_clock
from exporter.errors import DamagedPartError
from exporter.log.commits import CommitLog
from exporter.log.journal import has_ended_well
from exporter.log.state import State
from exporter.store.base import Store


async def may_remain(store: Store, state: State) -> bool:
    """Returns whether files may still lie there of which an erasure, an age, a policy or a key has taken rows away."""
    privacy = state.privacy
    if privacy.unfinished:
        return True
    return privacy.takes_away and not await has_ended_well(store, state.runs[-1])


async def take_remains_away(store: Store, log: CommitLog, *, repairs: bool = False) -> None:
    """Deletes all that the log does not name, after tables have let go of it. The caller must hold the lock.

    A run that `repairs` takes away later what a damaged part keeps here, because nobody knows what that names.

    Raises `DamagedLogError` if commits are missing, because what they name may be all that is left, `StoreError`, and
    in any other run `DamagedPartError`.
    """
    from exporter.log.manifest import check_not_behind
    from exporter.run.erasure import take_away

    await check_not_behind(store, log.state)
    # A run that the lock does not reach can then no longer commit what is swept here.
    await log.append(committed_at=wall_clock(), kind="resume")
    try:
        await take_away(store, log.state)
    except DamagedPartError:
        if not repairs:
            raise
