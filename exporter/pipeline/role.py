"""Whose rows are served, and whether the API withholds their sensitive fields from this token or they have none.

Without the scope `conversations:read_sensitive` these fields are absent (source.md, Response); but an API that leaves
out what is null serves a row without any of them just the same. So a row without them is a suspicion. What decides is
what the API answers later to an id: the token sees the fields if one conversation comes with any of them.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio

from exporter.contract import FIELDS
from exporter.encode.batch import EncodedBatch
from exporter.errors import AccessError, ContradictionError

_SENSITIVE: Final = frozenset(field.name for field in FIELDS if field.sensitive)

#: The names of the fields that a conversation is served with when it is asked for by its id; None: it cannot be had.
Look = Callable[[str], Awaitable[frozenset[str] | None]]


class Role:
    """Judges by rows that are asked for by their ids, once for all rows that were served before.

    `find_known` gives ids of rows that are there and came with sensitive fields; it is called at most once. `asked` are
    the sensitive fields that rows are asked for with.
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
        #: When the first row came without such fields; None: none has come.
        self._began_blind: bool | None = None
        self._turn = anyio.Lock()

    def note(self, sighted: str | None, bare: str | None) -> None:
        """Takes notice of a row that came with sensitive fields, and of one that came without any."""
        if sighted is not None:
            self._seen, self._withholds = sighted, False
        self._bare = bare or self._bare

    async def begin(self) -> None:
        """Must be called when the first row has come without sensitive fields: a scope that the token gains later does
        not show that the rows before it had none. Raises as `withholds`."""
        async with self._turn:
            if self._began_blind is None:
                blind = not await self._sees_any()
                if not blind and self._bare is not None:
                    # What the row has now, though it came without, was withheld then: the scope was gained since.
                    blind = bool((await self._look(self._bare) or frozenset()) & self._asked)
                self._began_blind = self._withholds = blind

    async def withholds(self) -> bool:
        """Returns whether rows that came without sensitive fields, all before this call, lack them because the token
        lacks the scope.

        True also where nothing shows the contrary: what may have been withheld must not pass for what is. Raises
        `SourceError`, and `StoreError`.
        """
        async with self._turn:
            if self._began_blind:
                return True
            # As long as no row comes with such fields, there is nothing that could show more than before.
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
    """Refuses rows that must not stand beside those that are there.

    `organization` is whose rows these are, once one of them has told. `role` judges rows that come without any
    sensitive field; without it they are taken to be withheld. With `refuses_withheld` the rows that are there have
    sensitive fields, and a token that may not see them is refused.
    """

    def __init__(
        self, organization: str | None = None, role: Role | None = None, *, refuses_withheld: bool = False
    ) -> None:
        self.organization = organization
        self._role = role
        self._refuses_withheld = refuses_withheld

    def check(self, served: EncodedBatch) -> None:
        """Takes notice of whose rows these are, and as whom they were read.

        Raises `ContradictionError` when they are another organization's than those before.
        """
        if self._role is not None:
            self._role.note(served.sighted, served.bare)
        for organization in served.organizations:
            self.organization = self.organization or organization
            if organization != self.organization:
                raise ContradictionError(
                    f"the API answered with rows of organization {organization[:80]!r}, and before with those of "
                    f"{self.organization[:80]!r}. Is the token, or --org-id, another one?"
                )

    async def begin(self) -> None:
        """Must be called when the first row has come without sensitive fields. Raises as `Role.begin`."""
        if self._role is not None:
            await self._role.begin()

    async def withholds(self, bare_rows: Iterable[int]) -> bool:
        """Whether this many rows that came without any sensitive field did so because the token lacks the scope.

        Raises `AccessError` where they must not be written because of that, and as `Role.withholds`.
        """
        if not any(bare_rows) or (self._role is not None and not await self._role.withholds()):
            return False
        if self._refuses_withheld:
            raise AccessError(
                "the API withholds the sensitive fields from this token, and the rows that are there have them: null "
                "would stand for what it may not see. Run again with a token that has conversations:read_sensitive"
            )
        return True


async def sees(look: Look, identities: Iterable[str]) -> bool:
    """Returns whether one of these conversations comes with a sensitive field. Raises as `look`."""
    for identity in identities:
        served = await look(identity)
        if served is not None and served & _SENSITIVE:
            return True
    return False
