"""Completes rows by id, where the list leaves out fields that the API serves with single conversations (source.md, 13).

The first rows that a run reads are looked at, and a few of them are asked for by their ids: `plan.hydration` decides by
them which fields are worth asking for. From then on every row that lacks one of these is asked for, at the pace of the
list, in pieces that memory has room for. A row that does not come by id is kept as it was listed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Self

import anyio
import msgspec
from msgspec import UNSET, Raw

from exporter.contract import Instant
from exporter.encode.rows import EncodeRow, Misfit, ServedRow
from exporter.errors import TooLargeError
from exporter.model import Counters, Rows
from exporter.pipeline.admission import Admission
from exporter.pipeline.memory import Room, Shares
from exporter.pipeline.reader import Reader
from exporter.pipeline.single import Absence
from exporter.privacy import NO_FLOORS
from exporter.schedule.hydration import Look, Served, askable, decide, is_over, left_out, piece_end, sample
from exporter.settings import Request, RunSettings
from exporter.tasks import for_each

#: This many conversations are asked for to decide, of at most this many that are tried, on this many pages.
_LOOKS: Final = 2
_TRIES: Final = 4
_PAGES: Final = 4
#: After this many refusals in a row, the token is not let in to single conversations.
_REFUSALS: Final = 3
#: The most rows of a piece.
_PIECE_ROWS: Final = 256
#: A piece may take this share of a page's memory, because the page itself stays there.
_SHARE_OF_PAGE: Final = 4


class Piece(msgspec.Struct):
    """Holds rows that can be written, and the `rest` of them, which must be completed first. `room` is for `rows`."""

    rows: Rows[EncodeRow]
    rest: Rows[EncodeRow] = msgspec.field(default_factory=Rows)
    room: Room | None = None

    def release(self) -> None:
        """Gives back the room: the rows are written."""
        if self.room is not None:
            self.room.release()


class Hydrator:
    """Completes rows of one run. `fields` are those that it asks for, and `filled` those that came. The `admission` is
    that of the run.

    `wanted` may be asked for; with `always`, all of them are, without a look. `known` is as in `plan.hydration.decide`.
    What lies below the `floors` of fields, by name, has expired, and is not asked for. At most `at_once` conversations
    are asked for at a time, and rows of about `piece_bytes` are completed at once.
    """

    def __init__(
        self,
        reader: Reader,
        wanted: Collection[str],
        *,
        always: bool = False,
        known: Collection[str] = (),
        floors: Mapping[str, Instant] = NO_FLOORS,
        at_once: int = 1,
        piece_bytes: int = 1024 * 1024,
    ) -> None:
        self.fields: frozenset[str] = frozenset(wanted) if always else frozenset()
        self.filled: set[str] = set()
        self.admission: Admission | None = None
        self._reader = reader
        self._wanted = frozenset(wanted)
        self._known = frozenset(known)
        self.floors = floors
        self._at_once = at_once
        self._piece_bytes = piece_bytes
        self._is_settled = always
        self._pages = 0
        self._refusals = 0
        self._is_refused = False
        self._rows = self._bytes = 0
        # All windows wait for the first that has rows.
        self._turn = anyio.Lock()

    @classmethod
    def of(
        cls,
        reader: Reader,
        request: Request,
        settings: RunSettings,
        known: Collection[str] = (),
        floors: Mapping[str, Instant] = NO_FLOORS,
    ) -> Self | None:
        """Returns what completes the rows of a run, or None if nothing must be asked for by id."""
        wanted = askable(request.fields)
        if settings.hydrate == "never" or not wanted:
            return None
        shares = Shares.of(settings.memory_bytes, settings.concurrency, len(request.tables))
        return cls(
            reader,
            wanted,
            always=settings.hydrate == "always",
            known=known,
            floors=floors,
            at_once=settings.concurrency,
            piece_bytes=shares.page // _SHARE_OF_PAGE,
        )

    async def learn(self, rows: Rows[EncodeRow]) -> None:
        """Decides by rows as they were listed, unless that is done. Raises `SourceError`."""
        if self._is_settled or not rows:
            return
        async with self._turn:
            served = [row for row in rows.rows if isinstance(row, ServedRow)]
            if not self._is_settled and served:
                await self._decide(served)

    async def _decide(self, rows: Sequence[ServedRow]) -> None:
        listed = [_served(row, self._wanted) for row in rows]
        looks: list[Look] = []
        absent = left_out(self._wanted, listed)
        if absent:
            looks = await self._look(rows, absent)
        self._pages += 1
        self._is_settled |= not absent or any(look.is_over for look in looks) or self._pages >= _PAGES
        self.fields = decide(self._wanted, listed, looks, self._known) if not self._is_refused else frozenset()
        if self.fields:
            self._reader.observer.note("asking by id", fields=",".join(sorted(self.fields)))

    async def _look(self, rows: Sequence[ServedRow], absent: frozenset[str]) -> list[Look]:
        looks: list[Look] = []
        statuses = [getattr(row, "status", None) for row in rows]
        for position in sample(statuses)[:_TRIES]:
            try:
                came = await self._reader.conversation(rows[position].id)
            except TooLargeError:
                continue
            if came is Absence.WITHHELD:
                self._give_up(absent)
                return []
            if isinstance(came, ServedRow):
                looks.append(Look(_served(came, self._wanted), is_over(statuses[position])))
            if len(looks) == _LOOKS or absent <= frozenset[str]().union(*(look.by_id for look in looks)):
                break
        return looks

    def _cut(self, rows: Rows[EncodeRow]) -> int:
        if not self._lacking(rows):
            return len(rows)
        return piece_end(rows.created_at, self.piece_rows)

    @property
    def piece_rows(self) -> int:
        """Returns how many rows fit into a piece, by the size of those that came."""
        typical = self._bytes // self._rows if self._rows else self._piece_bytes // (2 * self._at_once)
        return max(1, min(_PIECE_ROWS, self._piece_bytes // max(1, typical)))

    def has_work(self, rows: Rows[EncodeRow], *, completes: bool) -> bool:
        """Returns whether `take` would ask for anything, or decide."""
        return bool(rows) and (not self._is_settled or (completes and bool(self._lacking(rows))))

    async def take(self, rows: Rows[EncodeRow], *, completes: bool) -> Piece:
        """Returns the newest of the rows, completed, or all of them as they are unless it `completes`; learns from
        them. Raises as `complete`."""
        await self.learn(rows)
        end = self._cut(rows) if completes else len(rows)
        room = await self.hold()
        try:
            return Piece(await self.complete(rows[:end]) if completes else rows, rows[end:], room)
        except BaseException:
            room.release()
            raise

    def admits(self, row: EncodeRow) -> bool:
        """Returns whether a row that came may be taken: it may say what the list has left out, and whose it is."""
        return self.admission is None or bool(self.admission.admit(Rows([row], [0], [None])))

    async def hold(self) -> Room:
        """Takes room for a piece, even if there is none: pages wait until it is released."""
        return await self._reader.hold(self._piece_bytes)

    async def complete(self, rows: Rows[EncodeRow]) -> Rows[EncodeRow]:
        """Returns the rows with the fields that came by id. A row that turns out to fit no column is a misfit.

        Raises `SourceError`; `TooLargeError` for a conversation that memory has no room for.
        """
        lacking = self._lacking(rows)
        if not lacking:
            return rows
        came = await self.ask(lacking)
        completed = [
            fill(row, came[row.id], self.fields, at)
            if isinstance(row, ServedRow) and row.id in came and not _are_strangers(row, came[row.id])
            else row
            for row, at in zip(rows.rows, rows.created_at, strict=True)
        ]
        return Rows(completed, rows.created_at, rows.updated_at)

    async def ask(self, identities: Iterable[str]) -> dict[str, ServedRow | Misfit]:
        """Returns the conversations that came with a field that was asked for, by id, and counts them and the others.

        Raises as `complete`.
        """
        found: dict[str, ServedRow | Misfit] = {}

        async def ask(identity: str) -> None:
            fields = self.fields
            if not fields:
                return
            came = await self._reader.conversation(identity)
            self._refusals = self._refusals + 1 if came is Absence.WITHHELD else 0
            if self._refusals >= _REFUSALS:
                self._give_up(fields)
            names = _brought(came, fields)
            if names and not isinstance(came, Absence):
                found[identity] = came
                self.filled |= names
                self._rows += 1
                self._bytes += _size(came)
            is_gone = came is Absence.GONE
            self._reader.count(
                Counters(completed=int(bool(names)), gone=int(is_gone), lacking=int(not names and not is_gone))
            )

        await for_each(identities, ask, at_once=self._at_once)
        return found

    def _lacking(self, rows: Rows[EncodeRow]) -> list[str]:
        """Returns the ids of the rows that lack a field that has not expired."""
        if not self.fields:
            return []
        return [
            row.id
            for row, at in zip(rows.rows, rows.created_at, strict=True)
            if isinstance(row, ServedRow)
            and any(getattr(row, name) is UNSET and at >= self.floors.get(name, at) for name in self.fields)
        ]

    def _give_up(self, fields: Collection[str]) -> None:
        if not self._is_refused:
            self._reader.observer.warn(
                f"the API refuses this token single conversations (403): {', '.join(sorted(fields))}, which its list "
                "leaves out, is kept as it was listed"
            )
        self._is_settled = self._is_refused = True
        self.fields = frozenset()


def fill(row: ServedRow, came: ServedRow | Misfit, fields: Collection[str], created_at: int) -> EncodeRow:
    """Returns the row with those of the fields that it lacked; a misfit if one of them fits no column."""
    if isinstance(came, Misfit):
        return Misfit(came.id, created_at, came.reason, came.text)
    for name in fields:
        if getattr(row, name) is UNSET:
            setattr(row, name, getattr(came, name))
    return row


def _are_strangers(row: ServedRow, came: ServedRow | Misfit) -> bool:
    """Returns whether what came by id belongs to another organization than what was listed."""
    if isinstance(came, Misfit):
        return False
    listed, found = (getattr(each, "organization_id", UNSET) for each in (row, came))
    return UNSET not in (listed, found) and listed != found


def _brought(came: EncodeRow | Absence, fields: Collection[str]) -> frozenset[str]:
    """Returns the fields that came. A misfit brings the one that fits no column, unless that was not asked for."""
    match came:
        case ServedRow():
            return frozenset(name for name in fields if getattr(came, name) is not UNSET)
        case Misfit(reason=reason):
            return frozenset(fields) & {reason.partition(" ")[0]}
    return frozenset()


def _served(row: ServedRow, wanted: Iterable[str]) -> Served:
    values: Mapping[str, Any] = {name: getattr(row, name, UNSET) for name in wanted}
    return {name: _has_value(value) for name, value in values.items() if value is not UNSET}


def _has_value(value: Any) -> bool:
    return value is not None and (not isinstance(value, Raw) or bytes(memoryview(value)[:4]) != b"null")


def _size(row: ServedRow | Misfit) -> int:
    if isinstance(row, Misfit):
        return len(row.text)
    values = (getattr(row, name) for name in row.__struct_fields__)
    return sum(memoryview(value).nbytes for value in values if isinstance(value, Raw))
