"""Adopts what a task has brought: its parts get their final paths, and one commit names them."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.errors import EngineError
from exporter.model import Counters
from exporter.run.share import Outcome, Share
from exporter.tasks import for_each

if TYPE_CHECKING:
    from exporter.run.session import Session

#: Copies inside an object store take their time.
_AT_ONCE = 8


async def adopt(session: "Session", share: Share, outcome: Outcome) -> None:
    """Commits what a task has brought, once it is checked, and counts what that has cost.

    Raises `EngineError` if a file that it names is not there as it says, before anything is moved; `AccessError` and
    `ContradictionError` for rows of another organization, and `StoreError`.
    """
    store, change = session.stage.store, outcome.change
    if change is None:
        _count(session, outcome)
        return
    sizes = await store.sizes(outcome.staged.values())
    for file in change.files:
        if (size := sizes.get(outcome.staged[file.path])) != file.size_bytes:
            raise EngineError(
                f"the task {share.task} has written {file.size_bytes:,} bytes for {file.path}, but "
                f"{'none' if size is None else f'{size:,}'} are staged"
            )
    if change.organization is not None:
        session.guard.note_owner(change.organization)
    _count(session, outcome)

    async def move(path: str) -> None:
        await store.adopt(outcome.staged[path], path)

    await for_each(outcome.staged, move, at_once=_AT_ONCE)
    await session.committer.commit(replace(change, organization=session.guard.organization), session.spent)
    await store.delete(*outcome.staged.values())


def _count(session: "Session", outcome: Outcome) -> None:
    """Adds to the sums of the session what they would be if it had read the rows itself."""
    counters = outcome.counters
    session.windows += counters.windows
    session.reader.report.windows += counters.windows
    # The windows are those of the session, and time passes here.
    session.reader.count(counters - Counters(windows=counters.windows, seconds=counters.seconds))
    session.admission.note_kept_out(outcome.kept_out)
    if session.hydrator is not None:
        session.hydrator.filled.update(outcome.hydrated)
    if (protector := session.stage.tables.protector) is not None:
        protector.note(outcome.protected_rows, changed=outcome.changed, reached=outcome.reached, odd=outcome.odd)
