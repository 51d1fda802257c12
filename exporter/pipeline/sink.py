"""What takes the rows that walks have settled, wherever it puts them."""

from typing import Protocol

from exporter.contract import Instant
from exporter.encode.batch import EncodedBatch
from exporter.encode.rows import EncodeRow
from exporter.errors import ContradictionError
from exporter.fetch.walk.window import Settled
from exporter.model import Change


class Writer(Protocol):
    """Takes the rows of one window, from new to old. A change that it returns is to be committed.

    `seconds_left`: until `finish` is called though nothing has come; infinite where nobody waits.
    """

    @property
    def seconds_left(self) -> float: ...
    async def add(self, settled: Settled[EncodeRow], settled_from: Instant, read_since: Instant) -> Change | None: ...
    async def finish(self, settled_from: Instant) -> Change | None: ...
    def abort(self) -> None: ...


class Factory(Protocol):
    """What the windows of a run have in common. `kept`: what became of what was read, when a reading fails; `again`:
    what another one is good for."""

    @property
    def kept(self) -> str: ...
    @property
    def again(self) -> str: ...
    @property
    def hidden_status(self) -> str | None: ...
    def open_window(self, end: Instant) -> Writer: ...


def same_organization(known: str | None, served: EncodedBatch) -> str | None:
    """Whose rows these are. Raises `ContradictionError` when they are not those of the one that is `known`."""
    for organization in served.organizations:
        known = known or organization
        if organization != known:
            raise ContradictionError(
                f"the API answered with rows of organization {organization[:80]!r}, and before with those of "
                f"{known[:80]!r}. Is the token, or --org-id, another one?"
            )
    return known
