"""Asks for single conversations by their ids, and tells why one does not come."""

from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Final, Protocol

import anyio
from anyio import to_thread

from exporter.contract import BEGINNING, Instant
from exporter.encode.decoded import DecodedPage
from exporter.encode.rows import EncodeRow
from exporter.errors import AccessError, RefusedError, RequestRefusedError, TooLargeError
from exporter.fetch.wire.answer import Answer, Presence
from exporter.pipeline.attempts import Attempts
from exporter.pipeline.memory import ByteBudget
from exporter.pipeline.source import names_in
from exporter.words import format_size

#: Most conversations are smaller, with their transcripts.
_USUAL_BYTES: Final = 64 * 1024
#: How often another conversation than the one that was asked for may come before that is believed to stay so.
_TIMES: Final = 3


class Absence(Enum):
    """Says why a conversation did not come when it was asked for by its id.

    The API no longer knows it (404); the token may not read it (403); or it cannot be told, because no path names the
    id, something else than this conversation came, or the API refused the question in another way.
    """

    GONE = "gone"
    WITHHELD = "withheld"
    UNCLEAR = "unclear"


class _Ask(Protocol):
    async def __call__(self, identity: str, fits: Callable[[int], bool]) -> Answer | Presence: ...


class Singles:
    """Finds conversations: `ask` makes one attempt at a body, and `decode` reads it as a page of one row."""

    def __init__(
        self,
        ask: _Ask,
        decode: Callable[[bytes, Instant], Awaitable[DecodedPage]],
        attempts: Attempts,
        budget: ByteBudget,
    ) -> None:
        self._ask = ask
        self._decode = decode
        self._attempts = attempts
        self._budget = budget
        # What has no room beside others is asked for alone.
        self._alone = anyio.Lock()

    async def find(self, identity: str) -> EncodeRow | Absence:
        """Returns a conversation, or why it did not come. Raises `SourceError`."""
        try:
            found: EncodeRow | Absence = Absence.UNCLEAR
            for _ in range(_TIMES):
                found = await self._roomy(identity)
                if found is not Absence.UNCLEAR:
                    break
        except RequestRefusedError:
            return Absence.UNCLEAR
        except AccessError as error:
            if not error.is_forbidden:
                raise
            return Absence.WITHHELD
        return found

    async def names_of(self, identity: str) -> frozenset[str] | None:
        """Returns the names of a conversation's fields, or None if it did not come or is too large.

        Raises `TransientError`.
        """
        room = await self._budget.reserve(1, self._budget.shares.page, waits=False)

        async def read() -> frozenset[str] | None:
            answer = await self._ask(identity, room.fits)
            return None if isinstance(answer, Presence) else await to_thread.run_sync(names_in, bytes(answer.body))

        try:
            return await self._attempts.pursue(read)
        except (RefusedError, TooLargeError):
            return None
        finally:
            room.release()

    async def _roomy(self, identity: str) -> EncodeRow | Absence:
        try:
            return await self._within(identity, _USUAL_BYTES)
        except TooLargeError:
            async with self._alone:
                return await self._largest(identity)

    async def _largest(self, identity: str) -> EncodeRow | Absence:
        most_bytes = self._budget.shares.largest_page
        try:
            return await self._within(identity, most_bytes)
        except TooLargeError as error:
            raise TooLargeError(
                f"one conversation takes more than {format_size(most_bytes)}, the most that fits in memory. Raise "
                "--memory, or leave out its long fields: --exclude-fields conversation"
            ) from error

    async def _within(self, identity: str, size_bytes: int) -> EncodeRow | Absence:
        # A caller may hold room for the page that names the conversation, and must not wait for more.
        room = await self._budget.reserve(1, size_bytes, waits=False)
        try:
            return await self._attempts.pursue(partial(self._read, identity, room.fits))
        finally:
            room.release()

    async def _read(self, identity: str, fits: Callable[[int], bool]) -> EncodeRow | Absence:
        answer = await self._ask(identity, fits)
        if isinstance(answer, Presence):
            return Absence.UNCLEAR if answer.is_known else Absence.GONE
        rows = (await self._decode(b"".join((b"[", answer.body, b"]")), BEGINNING)).page.rows.rows
        # An answer that holds another conversation is never taken for this one.
        return rows[0] if [row.id for row in rows] == [identity] else Absence.UNCLEAR
