"""Makes the tasks of a distributed reading: what each reads, and what the run has learned by then."""

import secrets
from itertools import count
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from exporter.bearer import TokenPlace
from exporter.contract import END_OF_TIME, SECOND, Instant
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS
from exporter.pipeline.role import sees
from exporter.pipeline.scan import Scan
from exporter.run.distribution_beacon import Beacon
from exporter.run.experience import learned_of, teach
from exporter.run.share import Facts, KeyPlaces, Outcome, ReadSettings, Share
from exporter.run.sighted import find_sighted
from exporter.schedule.clock import Now
from exporter.schedule.shares import Piece
from exporter.settings import Credentials, Request, RunSettings
from exporter.store.location import known_in_full

if TYPE_CHECKING:
    from exporter.run.session import Session


def token_place(credentials: Credentials) -> TokenPlace:
    """Returns where workers find the token. Raises `UsageError` if only this program has it."""
    place = credentials.bearer.source.place
    if place is None:
        raise UsageError(
            "token: a task never carries it, so that with an engine each worker must find it: in ANYREACH_TOKEN of its "
            "own environment, in the file of token_file, or by token_command"
        )
    return place


class TaskMaker:
    """Makes the tasks of `session`, which read pieces of `scan`. The data begins at about `oldest`. As long as the
    `beacon` is there, tasks go on.

    Raises `UsageError` as `token_place`.
    """

    def __init__(self, session: "Session", scan: Scan, settings: RunSettings, oldest: Instant) -> None:
        self.beacon: Final = Beacon(session.stage.store, session.run, session.context.observer)
        self._session = session
        self._scan = scan
        self._settings = settings
        self._oldest = oldest
        self._numbers = count(1)
        self._place = token_place(session.context.credentials)
        self._sighted: tuple[str, ...] = ()
        self._may_be_sighted = True
        self._learned = learned_of(session.reader)
        state = session.log.state
        # A row of the status that lists leave out is not on the list that its time is told of.
        stored = state.oldest_row if scan.hidden_status is None and state.conversations else None
        self._lowest = min(session.reader.traits.lowest, END_OF_TIME if stored is None else stored)

    def note(self, outcome: Outcome) -> None:
        """Takes note of what a task has brought."""
        self._learned |= outcome.learned
        adds = () if outcome.change is None else outcome.change.adds
        self._may_be_sighted |= any(file.table == CONVERSATIONS and file.withheld_rows < file.rows for file in adds)
        if self._scan.hidden_status is None:
            self._lowest = min((self._lowest, *(file.created_at_min for file in adds)))

    def teach(self) -> None:
        """Lets the session's own reader have what tasks have learned: it reads again what is in doubt."""
        rows = self._session.log.state.totals.rows
        teach(self._session.reader, self._learned, self._lowest, has_several=rows > 1)

    def make(self, piece: Piece, max_rps: float | None) -> Share:
        """Returns the task that reads a piece, with at most `max_rps` requests a second."""
        session, state = self._session, self._session.log.state
        return Share(
            run=session.run,
            task=f"{session.run}-t{next(self._numbers):06d}-{secrets.token_hex(3)}",
            destination=known_in_full(session.stage.store.location),
            file_mode=session.stage.store.file_mode,
            request=state.request or Request(),
            settings=ReadSettings.of(self._settings, max_rps),
            scan=replace(self._scan, windows=piece.windows),
            facts=self._facts(piece),
            privacy=state.privacy,
            token=self._place,
            keys=KeyPlaces.of(session.context.keys),
            budget_seconds=piece.budget_seconds,
            beacon=self.beacon.path,
            nonce=self.beacon.nonce,
        )

    async def look_for_sighted(self) -> None:
        """Looks for conversations that were served with sensitive fields, until there is one: by them a task tells
        fields that its token may not see from fields that are null. Raises `SourceError`, and `StoreError`."""
        session = self._session
        if self._sighted or not self._may_be_sighted or not session.stage.tables.encoder.sensitive:
            return
        self._may_be_sighted = False
        self._sighted = tuple(await find_sighted(session.stage.store, session.log.state))
        newest = session.opening.newest_ids
        if not session.log.state.conversations and await sees(session.reader.fields_of, newest):
            self._sighted = newest

    def _facts(self, piece: Piece) -> Facts:
        session, state, traits = self._session, self._session.log.state, self._session.reader.traits
        return Facts(
            now=_told(session.opening.now, session.context.clock()),
            oldest=self._oldest,
            density=piece.density,
            newest=traits.newest.get(None),
            lowest=self._lowest,
            has_several=state.totals.rows > 1 or traits.shown.are_several(None),
            stored_rows=state.totals.rows,
            organization=session.guard.organization,
            stored_organization=session.before.organization,
            asked_organization=session.context.credentials.organization,
            refuses_withheld=session.guard.refuses_withheld,
            sighted=self._sighted,
            hydrated=state.hydrated_fields,
            learned=self._learned,
        )


def _told(now: Now, seconds: float) -> Instant:
    """Returns the time to go by, at this many monotonic seconds."""
    latest = now.instant if now.rows is None else min(now.instant, now.rows)
    return latest + round((seconds - now.at) * SECOND)
