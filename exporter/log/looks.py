"""Remembers which partitions need no look for recordings, so that a run that finds nothing new reads nothing. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from exporter.layout import CONVERSATIONS, RECORDINGS, partition_text
from exporter.log.live import LiveFiles
from exporter.log.state import Commit, State
from exporter.model import DataFile


@dataclass(slots=True)
class Looks:
    """Holds `State.changed_at` and `State.looked_at` while commits are folded."""

    changed_at: dict[str, int]
    looked_at: dict[str, int]

    @classmethod
    def of(cls, state: State) -> "Looks":
        return cls(dict(state.changed_at), dict(state.looked_at))

    def note(self, live: LiveFiles, commit: Commit) -> None:
        """Takes a commit that fits the `live` files, which are those before it.

        A merge changes no row, and an expiry adds none. What takes rows of recordings away, and puts none in their
        place, leaves recordings without a row, except those that have expired.
        """
        change = commit.change
        if commit.kind not in ("expire", "compact", "rekey"):
            changed = {partition_text(file.partition) for file in change.adds if file.table == CONVERSATIONS}
            self.changed_at.update(dict.fromkeys(changed, commit.number))
        if commit.kind not in ("expire", "compact", "rekey", "recordings"):
            for text in set(_recorded(live, change.removes)):
                self.looked_at.pop(text, None)
        if commit.kind != "expire":
            self.looked_at.update(change.looked_at)

    def keep(self, partitions: Collection[str]) -> None:
        """Forgets all other partitions: they have no rows any more."""
        for numbers in (self.changed_at, self.looked_at):
            for text in numbers.keys() - partitions:
                del numbers[text]


def _recorded(live: LiveFiles, paths: Collection[str]) -> Iterator[str]:
    """Yields the partitions of those files that are parts of recordings."""
    for path in paths:
        if isinstance(file := live.by_path.get(path), DataFile) and file.table == RECORDINGS:
            yield partition_text(file.partition)
