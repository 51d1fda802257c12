"""Decides what has changed between two generations, net: who came, was replaced, or left. Pure.

What each commit did to rows is in its file of changes, by `parts.changes`. What was newly covered in between has no
rows there: all that lies there came, unless an id says that it came from elsewhere. Only ids in files of changes are
held in memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.contract import Instant
from exporter.coverage import Coverage
from exporter.model import Change

Op: TypeAlias = Literal["insert", "update", "delete"]
INSERT: Final = "insert"
UPDATE: Final = "update"
DELETE: Final = "delete"


class ChangedRow(NamedTuple):
    """Holds a row of a file of changes."""

    id: str
    was_at: Instant | None
    created_at: Instant | None


class FoundRow(NamedTuple):
    """Locates a row of the later generation. `rank` orders the rows of one id: the greatest counts."""

    id: str
    created_at: Instant
    rank: tuple[object, ...] = ()


class Placed(NamedTuple):
    """Says what became of a conversation, and where its row is, or was if it is gone."""

    op: Op
    created_at: Instant


@dataclass(slots=True)
class Touched:
    """Holds what commits have done, by id: how many rows came less how many went, and where the first one was.

    Only rows whose time is in `kept` count: what the earlier generation covers, and no commit has uncovered since.
    Elsewhere, the later generation alone says what there is. `places` are all times at which a touched row may be.
    `watched` are ids that no commit has touched, and that the later generation may have several times.
    """

    kept: Coverage
    balance: dict[str, int] = field(default_factory=dict)
    was_at: dict[str, Instant] = field(default_factory=dict)
    places: set[Instant] = field(default_factory=set)
    watched: set[str] = field(default_factory=set)

    @property
    def ids(self) -> list[str]:
        """Returns all ids that are followed."""
        return [*self.balance, *(self.watched - self.balance.keys())]

    def note(self, change: Change, rows: Iterable[ChangedRow]) -> None:
        """Adds what the next commit has done: its change, and the rows of its file of changes."""
        for identity, was_at, created_at in rows:
            net = self.balance.get(identity, 0)
            if was_at is not None and was_at in self.kept:
                net -= 1
                self.was_at.setdefault(identity, was_at)
            if created_at is not None:
                self.places.add(created_at)
                net += created_at in self.kept
            self.balance[identity] = net
        # Rows that a commit takes away with their interval were there before it.
        self.kept -= Coverage(change.uncovers)

    def decide(self, found: Iterable[FoundRow]) -> dict[str, Placed]:
        """Returns what became of each id, by all rows that the later generation has of them; others did not change."""
        before = {identity: -net for identity, net in self.balance.items()}
        arrived: set[str] = set()
        there: dict[str, FoundRow] = {}
        for row in found:
            if row.created_at in self.kept:
                before[row.id] = before.get(row.id, 0) + 1
            else:
                arrived.add(row.id)
            if row.id not in there or row.rank > there[row.id].rank:
                there[row.id] = row
        placed: dict[str, Placed] = {}
        for identity in (*self.balance, *(arrived - self.balance.keys())):
            was_there = before.get(identity, 0) > 0
            if identity in there:
                placed[identity] = Placed(UPDATE if was_there else INSERT, there[identity].created_at)
            elif was_there:
                placed[identity] = Placed(DELETE, self.was_at[identity])
        return placed
