"""Adopts what a task has brought: its parts get their final paths, and one commit names them."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.errors import EngineError
from exporter.model import Counters
from exporter.run.share import Outcome
from exporter.store.base import Store
from exporter.tasks import for_each

if TYPE_CHECKING:
    from exporter.run.session import Session

#: Copies inside an object store take their time.
_AT_ONCE = 8


async def check_staged(store: Store, outcome: Outcome) -> None:
    """Checks that each file that a task has brought is staged as it says. Raises `EngineError`, and `StoreError`."""
    sizes = await store.sizes(outcome.staged.values())
    for file in () if outcome.change is None else outcome.change.files:
        if (size := sizes.get(outcome.staged[file.path])) != file.size_bytes:
            raise EngineError(
                f"the task {outcome.task} has written {file.size_bytes:,} bytes for {file.path}, but "
                f"{'none' if size is None else f'{size:,}'} are staged"
            )


async def adopt(session: "Session", outcome: Outcome) -> None:
    """Commits what a task has brought, once it is checked, and counts what that has cost.

    Raises `AccessError` and `ContradictionError` for rows of another organization, and `StoreError`.
    """
    store, change = session.stage.store, outcome.change
    if change is not None and change.organization is not None:
        session.guard.note_owner(change.organization)
    _count(session, outcome)
    if change is None:
        return

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
