"""Finds how a list of conversations differs from the rows of the dataset. Pure.

Both run from new to old. A row that one side has shown waits until the other has come as far down, so that what is in
memory does not grow with their length. Served times may differ by less than a second from one reading to the next.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from exporter.contract import BEGINNING, END_OF_TIME, SECOND, Instant
from exporter.coverage import Coverage

#: A row is `missing` if the source has it and the dataset does not, `changed` if both have it with different
#: `updated_at`, `moved` if the dataset has it where the source does not list it though both have it, `deleted` if the
#: source does not list it, and `later` if it is one of the first three by what happened after the data was read.
Kind: TypeAlias = Literal["missing", "changed", "moved", "deleted", "later"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

#: Ids with `created_at` and `updated_at` beside them, from new to old; an `updated_at` of None is not known, and says
#: nothing.
Versions: TypeAlias = tuple[Sequence[str], Sequence[Instant], Sequence[Instant | None]]

_TOLERANCE: Final = 2 * SECOND
_Waiting: TypeAlias = dict[str, tuple[Instant, Instant | None]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Holds the `created_at` that is listed or, for a deleted row, that of the dataset."""

    kind: Kind
    id: str
    created_at: Instant


class LastRead:
    """Tells since when (by the server's clock, less `lag` microseconds) the rows of each time of `created_at` may have
    changed without the dataset's knowing. `reads` are those of `log.state.State`."""

    def __init__(self, reads: Iterable[tuple[Instant, Coverage]], lag: int) -> None:
        self._pieces = sorted(
            (interval.start, interval.end, instant - lag) for instant, read in reads for interval in read
        )
        self._starts = [start for start, _, _ in self._pieces]

    def since(self, created_at: Instant) -> Instant:
        position = bisect_right(self._starts, created_at) - 1
        if position >= 0 and created_at < self._pieces[position][1]:
            return self._pieces[position][2]
        return END_OF_TIME


def find_differences(listed: Iterator[Versions], kept: Iterator[Versions], last_read: LastRead) -> Iterator[Difference]:
    """Yields every row of one of the two that the other does not have as it is, each once."""
    sides = (listed, kept)
    waiting: tuple[_Waiting, _Waiting] = ({}, {})
    down_to = [END_OF_TIME, END_OF_TIME]
    while max(down_to) > BEGINNING:
        side = down_to.index(max(down_to))
        mine, others = waiting[side], waiting[1 - side]
        batch = next(sides[side], None)
        if batch is None:
            down_to[side] = BEGINNING
        else:
            for identity, created_at, updated_at in zip(*batch, strict=True):
                other = others.pop(identity, None)
                if other is None:
                    # A row that one side shows twice waits where it was shown last; its first place is passed by.
                    if (first := mine.pop(identity, None)) is not None and side == 1:
                        yield Difference("deleted", identity, first[0])
                    mine[identity] = created_at, updated_at
                    continue
                listed_at, changed_at = (created_at, updated_at) if side == 0 else other
                if abs(created_at - other[0]) >= SECOND:
                    yield Difference(_kind("moved", listed_at, changed_at, last_read), identity, listed_at)
                elif updated_at is not None and other[1] is not None and updated_at != other[1]:
                    yield Difference(_kind("changed", listed_at, changed_at, last_read), identity, listed_at)
            down_to[side] = batch[1][-1] if batch[1] else down_to[side]
        for identity, created_at, updated_at in _passed(waiting[0], down_to[1]):
            yield Difference(_kind("missing", created_at, updated_at, last_read), identity, created_at)
        for identity, created_at, _ in _passed(waiting[1], down_to[0]):
            yield Difference("deleted", identity, created_at)


def join_some(versions: Iterable[Versions], some: Sequence[tuple[str, Instant, Instant | None]]) -> Iterator[Versions]:
    """Yields `versions` with `some` more rows among them, which come in any order."""
    waiting = sorted(some, key=lambda row: row[1])
    for ids, created_at, updated_at in versions:
        due = []
        while waiting and created_at and waiting[-1][1] >= created_at[-1]:
            due.append(waiting.pop())
        # They go before the rest, because the last row of a batch tells how far down it goes.
        yield (
            [*(row[0] for row in due), *ids],
            [*(row[1] for row in due), *created_at],
            [*(row[2] for row in due), *updated_at],
        )
    if waiting:
        waiting.reverse()
        yield [row[0] for row in waiting], [row[1] for row in waiting], [row[2] for row in waiting]


def _passed(waiting: _Waiting, position: Instant) -> list[tuple[str, Instant, Instant | None]]:
    """Takes out the rows that the other side would have shown by now."""
    passed = []
    for identity, (created_at, updated_at) in waiting.items():
        if position > BEGINNING and created_at <= position + _TOLERANCE:
            break
        passed.append((identity, created_at, updated_at))
    for identity, _, _ in passed:
        del waiting[identity]
    return passed


def _kind(kind: Kind, created_at: Instant, updated_at: Instant | None, last_read: LastRead) -> Kind:
    """Returns the kind of a difference in a row that the source has with these times."""
    return "later" if (created_at if updated_at is None else updated_at) >= last_read.since(created_at) else kind
