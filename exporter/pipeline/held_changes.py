"""Lets the changes of a short reading wait for one another, so that a nightly run makes one commit of what is new."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from exporter.model import Change, Counters
from exporter.pipeline.collector import Collector
from exporter.pipeline.committer import Committer, merged

#: What a run adds to an export that was complete is read again after a kill, as long as this is all that it has taken.
TOGETHER_SECONDS: Final = 10.0
#: So much of the disk may be taken by files that no commit names yet, and that a full disk would cost.
_TOGETHER_BYTES: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class HeldChanges:
    """Holds changes until the time `due` by the `clock`, or until their files are large; then each is committed
    as it comes, with those that were held. A killed run has published the files of held changes in vain, and what they
    bring is read again. Without a `committer`, nothing is committed."""

    committer: Committer | Collector | None
    clock: Callable[[], float]
    due: float
    _held: list[Change] = field(default_factory=list)

    async def take(self, change: Change | None, spent: Counters) -> None:
        """Takes a change to commit, if there is one, now or later. Raises as `commit`."""
        self._held += [] if change is None else [change]
        held_bytes = sum(file.size_bytes for held in self._held for file in held.adds)
        if self.clock() >= self.due or held_bytes > _TOGETHER_BYTES:
            await self.commit(spent)

    async def commit(self, spent: Counters) -> None:
        """Commits what is held, if anything is. Raises `StoreError`; whether it is then committed is open, and nothing
        repeats it."""
        held, self._held = self._held, []
        if held and self.committer is not None:
            await self.committer.commit(merged(held), spent)
