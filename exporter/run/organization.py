"""Compares the organization whose conversations the API serves with that of the stored ones, and of a run's own.

A key carries its organization, so that one token in place of another may silently serve other conversations, or none. A
run that went on would take windows for read and updates for seen, and what it missed there would be lost.
"""

from typing import Final, NamedTuple

import anyio

from exporter.bearer import Bearer
from exporter.contract import HIDDEN_STATUS
from exporter.errors import AccessError, RequestRefusedError, TooLargeError, UnplacedError
from exporter.model import PageRequest
from exporter.pipeline.probe import Opening
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import check_owner, check_stored_owner, is_same_organization, organizations_of
from exporter.schedule.probes import NAMING_OWNERS
from exporter.settings import Credentials
from exporter.words import count_of

#: One row would do, if none came without the field.
_ROWS: Final = 3
#: A list that comes empty is asked for again: a page may be empty by chance (source.md, 14).
_LOOKS: Final = 3


class Served(NamedTuple):
    """Tells whose rows are served, as far as they say, and whether there is none at all."""

    owners: tuple[str, ...]
    is_empty: bool


async def look_at_served(reader: Reader) -> Served:
    """Asks for a few rows, whatever filters and fields say: they may leave nothing that names an organization.

    Raises `SourceError`.
    """
    # An API may leave a status out of the list.
    for status in (*[None] * _LOOKS, HIDDEN_STATUS):
        request = PageRequest(_ROWS, filtered=False, ids_only=True, status=status, extra=NAMING_OWNERS)
        try:
            # Whoever asks may hold room for a page.
            reading = await reader.read(request, reader.portions(), waits=False, believes=True)
        except (RequestRefusedError, TooLargeError, UnplacedError):
            return Served((), is_empty=False)
        rows = reading.page.rows.rows
        reading.room.release()
        if rows:
            return Served(organizations_of(rows), is_empty=False)
    return Served((), is_empty=True)


class Ownership:
    """Lets a run read only what belongs to one `organization`: that of the `stored_rows`, if there are any, or else
    that of the first ones which are served.

    What `reader` has read is judged again whenever another token is in use.
    """

    def __init__(
        self, reader: Reader, credentials: Credentials, stored_organization: str | None, stored_rows: int
    ) -> None:
        self.organization = stored_organization
        self._reader = reader
        self._bearer: Final[Bearer] = credentials.bearer
        self._asked = credentials.organization
        self._stored = stored_organization
        self._stored_rows = stored_rows
        self._has_seen = False
        self._vouched = credentials.bearer.token
        self._turn = anyio.Lock()
        self._asks: anyio.TaskInfo | None = None

    async def settle(self, opening: Opening) -> None:
        """Judges the token that the first questions were asked with, by their answers or, where filters or the range
        have left none, by another question.

        Raises `AccessError` if it is one for another organization, and `SourceError`.
        """
        self._has_seen = bool(opening.newest_ids)
        owners = opening.organizations
        if not self._has_seen and (self._stored_rows or self._asked):
            owners = await self._ask()
        self._check(owners)
        self.organization = self.organization or next(iter(owners), None)

    async def settle_elsewhere(self, organization: str | None, *, has_seen: bool, asks: bool = True) -> None:
        """Judges the token of a worker, which may be another one than the driver's. That serves conversations of
        `organization`, if it is known, and `has_seen` says whether it serves any. Asks where that tells anything,
        unless the caller has had the answer before: then it `asks` for nothing.

        Raises as `settle`.
        """
        self.organization, self._has_seen = organization or self.organization, has_seen
        if asks and (self.organization or self._asked or self._has_seen or self._stored_rows):
            self._check_other(await self._ask(), "the token that this worker has")

    async def vouch(self) -> None:
        """Asks whose rows a token sees that has taken the place of another one; does nothing before that.

        Raises as `settle`.
        """
        if self._bearer.token == self._vouched or self._asks == anyio.get_current_task():
            return
        async with self._turn:
            self._asks = anyio.get_current_task()
            try:
                while (token := self._bearer.token) != self._vouched:
                    self._check_other(await self._ask(), "the token was renewed during this run, and the new one")
                    self._vouched = token
            finally:
                self._asks = None

    async def _ask(self) -> tuple[str, ...]:
        """Returns whose rows are served. Raises `AccessError` if none is, though there were some."""
        served = await look_at_served(self._reader)
        if served.is_empty and (self._has_seen or self._stored_rows) and not self._is_named:
            there = f"{count_of(self._stored_rows, 'row')} stored here" if self._stored_rows else "rows before"
            raise AccessError(
                f"the API serves this token no conversation at all, but there are {there}: is it one of another "
                f"organization{_named(self.organization)}? Give a token of the same one ({self._bearer.source.named})"
            )
        return served.owners

    @property
    def _is_named(self) -> bool:
        """Returns whether the API itself holds each request to the organization: a personal token names it."""
        wanted = self.organization or self._asked
        return bool(self._bearer.is_personal and self._asked and wanted and is_same_organization(self._asked, wanted))

    def _check(self, owners: tuple[str, ...]) -> None:
        for owner in owners:
            check_owner(owner, self._asked)
            check_stored_owner(owner, self._stored)

    def _check_other(self, owners: tuple[str, ...], token: str) -> None:
        for owner in owners:
            if self.organization is not None and owner != self.organization:
                raise AccessError(
                    f"{token} serves conversations of organization {owner[:80]!r} instead of "
                    f"{self.organization[:80]!r}. Nothing that it read is kept: put a token of "
                    f"{self.organization[:80]!r} there ({self._bearer.source.named})"
                )
        self._check(owners)


def _named(organization: str | None) -> str:
    return "" if organization is None else f" than {organization[:80]!r}"
