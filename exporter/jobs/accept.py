"""`exporter accept` records that what an export has in doubt is known, so that only a new doubt ends with status 3.

It asks the API nothing, and changes no row: what is in doubt stays in doubt.
"""

import getpass
import os

import msgspec

from exporter.contract import Instant
from exporter.encode.tables import Tables
from exporter.errors import UsageError
from exporter.jobs.doubts import Accepted, Doubt, accepted_of, doubts_of, number_of
from exporter.log.acceptance import Acceptance, Doubts
from exporter.log.commits import load_state
from exporter.log.manifest import check_not_behind
from exporter.log.publish import sweep
from exporter.log.state import State, StateName, state_name
from exporter.run.claim import Claim, holding
from exporter.run.reconcile import stored_export
from exporter.run.record import Run, recorded
from exporter.settings import Request
from exporter.store.base import Store
from exporter.store.local.lock import host_name
from exporter.store.location import Location
from exporter.store.open import open_store

#: A note stands in the manifest, and in the summary of every run.
_NOTE_CHARACTERS = 500


class AcceptResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports which `doubts` were accepted, or would be. `accepted` are all acceptances that hold, by whom and when.

    `unsettled` says that a run was cut short before it knew that each row is in one place: only a run can tell.
    """

    state: StateName
    generation: int
    doubts: tuple[Doubt, ...]
    accepted: tuple[Accepted, ...]
    unsettled: bool

    @property
    def unproven(self) -> tuple[Doubt, ...]:
        """Returns the times among `doubts`."""
        return self._of_kind("unproven")

    @property
    def quarantine(self) -> tuple[Doubt, ...]:
        """Returns the files of rows that fit no column, among `doubts`."""
        return self._of_kind("quarantine")

    @property
    def partly_withheld(self) -> tuple[Doubt, ...]:
        """Returns the rows without sensitive fields among `doubts`."""
        return self._of_kind("withheld")

    def _of_kind(self, kind: str) -> tuple[Doubt, ...]:
        return tuple(one for one in self.doubts if one.kind == kind)

    @property
    def number(self) -> int:
        """Returns the number of `doubts`, as `number_of` counts."""
        return number_of(self.doubts)

    @property
    def exit_status(self) -> int:
        return 0


async def accept(
    destination: Location, *, now: Instant, note: str | None = None, by: str | None = None, dry_run: bool = False
) -> AcceptResult:
    """Accepts every doubt that nobody has accepted; `by` is this process's user unless it is given.

    Changes nothing if there is none, or with `dry_run`. Raises `UsageError` for a note of more than a line,
    `DestinationError` if there is no export, `DestinationLockedError` if another run is at work, `OvertakenError` if
    another run has gone on with the export meanwhile, and `StoreError`.
    """
    if note is not None and (len(note) > _NOTE_CHARACTERS or not note.isprintable()):
        raise UsageError(f"--note: must be one line of at most {_NOTE_CHARACTERS} characters")
    async with open_store(destination) as store:
        state = await load_state(store)
        stored_export(state, destination)  # before the lock, which would be made even if there is no export
        await check_not_behind(store, state)
        if dry_run or not state.new_doubts:
            return _accepted(state, state.new_doubts)

        async def work(run: Run) -> AcceptResult:
            async with holding(store, run) as claim:
                return await _accept(store, claim, now, by or _user(), note)

        return await recorded(store, "accept", work)


async def _accept(store: Store, claim: Claim, now: Instant, by: str, note: str | None) -> AcceptResult:
    before = claim.log.state
    await check_not_behind(store, before)
    doubts = before.new_doubts
    if doubts:
        accepted = Acceptance(at=now, by=by, note=note, doubts=doubts)
        after = await claim.log.append(committed_at=now, kind="accept", accepts=accepted)
        await sweep(store, after, schemas=Tables.of(after.request or Request()).schemas)
    return _accepted(claim.log.state, doubts)


def _accepted(state: State, doubts: Doubts) -> AcceptResult:
    return AcceptResult(
        state=state_name(state),
        generation=state.number,
        doubts=doubts_of(doubts),
        accepted=accepted_of(state.acceptances),
        unsettled=bool(state.unsettled),
    )


def _user() -> str:
    """Returns who runs this process, and where."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may give a number that no account has
        name = f"user {os.getuid()}"
    return f"{name.encode(errors='replace').decode()}@{host_name()}"
