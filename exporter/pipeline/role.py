"""Finds whose rows are served, and whether their sensitive fields are withheld from this token or do not exist.

Without the scope `conversations:read_sensitive` these fields are absent (source.md, Response); but an API that leaves
out what is null also serves a row without any of them. So such a row only raises a suspicion. What decides is how the
API answers later to an id: the token sees the fields if one conversation comes with any of them.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from exporter.contract import FIELDS, ORGANIZATION_VARIABLE
from exporter.encode.rows import EncodeRow
from exporter.errors import AccessError, ContradictionError

if TYPE_CHECKING:
    from exporter.encode.batch import EncodedBatch

_SENSITIVE: Final = frozenset(field.name for field in FIELDS if field.sensitive)

#: Returns the names of the fields that a conversation is served with when asked for by its id, or None if it is not.
Look = Callable[[str], Awaitable[frozenset[str] | None]]


class Role:
    """Judges all rows served before by rows that are asked for by their ids.

    `find_known` returns ids of stored rows that came with sensitive fields; it is called at most once. `asked` are the
    sensitive fields that the run asks for.
    """

    def __init__(
        self, look: Look, find_known: Callable[[], Awaitable[Iterable[str]]], asked: Iterable[str] = _SENSITIVE
    ) -> None:
        self._look = look
        self._asked = frozenset(asked)
        self._find_known = find_known
        self._known: tuple[str, ...] | None = None
        self._seen: str | None = None
        self._bare: str | None = None
        self._withholds = False
        # Whether the token lacked the scope when the first row came without such fields; None before that.
        self._began_blind: bool | None = None
        self._turn = anyio.Lock()

    def note(self, sighted: str | None, bare: str | None) -> None:
        """Notes the id of a row that came with sensitive fields, and of one that came without any."""
        if sighted is not None:
            self._seen, self._withholds = sighted, False
        self._bare = bare or self._bare

    async def begin(self) -> None:
        """Judges the token now. Must be called when the first row has come without sensitive fields: a scope that the
        token gains later does not show that earlier rows had none. Raises as `withholds` does."""
        async with self._turn:
            if self._began_blind is None:
                blind = not await self._sees_any()
                if not blind and self._bare is not None:
                    # If the row now has what it came without, that was withheld, and the scope was gained since.
                    blind = bool((await self._look(self._bare) or frozenset()) & self._asked)
                self._began_blind = self._withholds = blind

    async def withholds(self) -> bool:
        """Returns whether the rows before this call that came without sensitive fields did so because the token has no
        scope for them.

        Also returns True if nothing shows the contrary: fields that may have been withheld must not pass for null.
        Raises `SourceError`, and `StoreError`.
        """
        async with self._turn:
            if self._began_blind:
                return True
            # Until a row comes with such fields, nothing could show more than before.
            if not self._withholds:
                self._withholds = not await self._sees_any()
            return self._withholds

    async def _sees_any(self) -> bool:
        if await sees(self._look, filter(None, (self._seen, self._bare))):
            return True
        if self._known is None:
            self._known = tuple(await self._find_known())
        return await sees(self._look, self._known)


class Guard:
    """Refuses rows that must not be stored beside the existing ones.

    `stored_organization` is the owner of the stored rows, and `asked_organization` the one that was asked for, if they
    are known; `organization` is the owner of the rows, once one of them has named it. `role` judges rows that come
    without any sensitive field; without a role, the fields count as withheld. With `refuses_withheld`, the stored rows
    have sensitive fields, and a token that may not see them is refused.
    """

    def __init__(
        self,
        stored_organization: str | None = None,
        role: Role | None = None,
        *,
        asked_organization: str | None = None,
        refuses_withheld: bool = False,
    ) -> None:
        self.organization = stored_organization
        self._stored_organization = stored_organization
        self._asked_organization = asked_organization
        self._role = role
        self.refuses_withheld = refuses_withheld

    def check(self, served: "EncodedBatch") -> None:
        """Notes whose rows these are, and whether they came with sensitive fields.

        Raises `AccessError` if they belong to another organization than the stored rows, or than was asked for, and
        `ContradictionError` if to another one than earlier rows of this run.
        """
        if self._role is not None:
            self._role.note(served.sighted, served.bare)
        for organization in served.organizations:
            self.note_owner(organization)

    def note_owner(self, organization: str) -> None:
        """Notes whose rows have come. Raises as `check`."""
        check_owner(organization, self._asked_organization)
        check_stored_owner(organization, self._stored_organization)
        self.organization = self.organization or organization
        if organization != self.organization:
            raise ContradictionError(
                f"the API answered with rows of organization {organization[:80]!r}, but earlier with those of "
                f"{self.organization[:80]!r}. An export holds those of one organization"
            )

    async def begin(self) -> None:
        """Calls `Role.begin`, and must be called when that must. Raises as it does."""
        if self._role is not None:
            await self._role.begin()

    async def withholds(self, bare_rows: Iterable[int]) -> bool:
        """Returns whether any of `bare_rows`, counts of rows without any sensitive field, are so for want of the scope.

        Raises `AccessError` if they must not be written because of that, and as `Role.withholds` does.
        """
        if not any(bare_rows) or (self._role is not None and not await self._role.withholds()):
            return False
        if self.refuses_withheld:
            raise AccessError(
                "the API withholds the sensitive fields from this token, but the stored rows have them: null would "
                "stand for what it may not see. Run again with a token that has conversations:read_sensitive"
            )
        return True


def organizations_of(rows: Iterable[EncodeRow]) -> tuple[str, ...]:
    """Returns the organizations that rows name, each once."""
    named = [getattr(row, "organization_id", None) for row in rows]
    # It is JSON text where the export does not ask for the field.
    texts = [msgspec.json.decode(name) if isinstance(name, msgspec.Raw) else name for name in named]
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, str)))


def check_owner(served: str, asked: str | None) -> None:
    """Raises `AccessError` if rows belong to another organization than was asked for."""
    if asked is not None and not is_same_organization(served, asked):
        raise AccessError(
            f"the API serves this token conversations of organization {served[:80]!r}, but --org-id or "
            f"{ORGANIZATION_VARIABLE} asks for {asked!r}. Correct it, or give a token of that organization"
        )


def check_stored_owner(served: str, stored: str | None) -> None:
    """Raises `AccessError` if rows belong to another organization than the stored ones."""
    if stored not in (None, served):
        raise AccessError(
            f"the API serves this token conversations of organization {served[:80]!r}, but those stored here are of "
            f"{stored!r}. Give a token of that organization, or export to another destination"
        )


def is_same_organization(one: str, other: str) -> bool:
    """Returns whether two ids name one organization; people type them in either case."""
    return one.casefold() == other.casefold()


async def sees(look: Look, identities: Iterable[str]) -> bool:
    """Returns whether one of these conversations comes with a sensitive field. Raises as `look` does."""
    for identity in identities:
        served = await look(identity)
        if served is not None and served & _SENSITIVE:
            return True
    return False
