"""Compares what a Delta or Iceberg table shows to its readers with what the log says. Pure.

A table is made of the parts as they are. It is written when a run has sealed the export, in one transaction, stamped
with the generation; so it never shows what is half done, and a run that was killed in between leaves it as it was. What
it showed at its last generation is known from the log: if it shows something else, others have written to it.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from exporter.errors import ForeignTableError
from exporter.log.state import State
from exporter.model import DataFile

#: The property of a table's version that names its generation, for readers who look for it.
GENERATION: Final = "exporter.generation"


@dataclass(frozen=True, slots=True)
class TableContents:
    """Holds what a table shows: the `generation` that it was last written for (0 means none yet), and the size in bytes
    and the rows of its files, by path relative to the destination. `is_found` says that readers who know only its
    directory find this version of it."""

    generation: int
    files: Mapping[str, tuple[int, int | None]]
    is_found: bool = field(default=True, compare=False)


class Step(msgspec.Struct, frozen=True):
    """Holds the files that a table must gain, and those that it must lose."""

    adds: Sequence[DataFile]
    removes: Sequence[DataFile]


class LakeTable(Protocol):
    """Reads and writes one table. All methods block, and raise `StoreError`, and `ForeignTableError` for a table that
    is another export's or was changed by others.

    `read` comes first, and returns None if there is no table. `write` makes the table if there is none, and fails if
    others have written to it since. `maintain` comes after it, and makes what was written quicker to read, or found: no
    row is lost if it fails, and `neglect` says what the table is until then. `expire` forgets versions that lose some
    of their files: those whose generation is not `readable`. `where` names the table in messages, and for `verify`.
    """

    name: str
    where: str
    neglect: str

    def read(self) -> TableContents | None: ...
    def write(self, step: Step, generation: int) -> None: ...
    def maintain(self) -> None: ...
    def generations(self) -> Collection[int]: ...
    def expire(self, readable: Collection[int]) -> None: ...
    def close(self) -> None: ...


def files_of(state: State, table: str) -> dict[str, DataFile]:
    """Returns the live files of one table, by path."""
    return {path: file for path, file in state.files.items() if file.table == table}


def next_step(table: LakeTable, shown: TableContents | None, then: State, now: State) -> Step | None:
    """Returns the step that brings a table from `shown` to `now`, or None if none is needed. `then` is the state that
    it was written for.

    Raises `ForeignTableError` if it shows something other than that state.
    """
    wanted = files_of(now, table.name)
    if shown is None:
        return Step(tuple(wanted.values()), ())
    made = files_of(then, table.name)
    sizes = {path: (file.size_bytes, file.rows) for path, file in made.items()}
    if shown.files != sizes:
        raise ForeignTableError(table.where, _describe(shown.files, sizes))
    adds = tuple(file for path, file in wanted.items() if path not in made)
    removes = tuple(file for path, file in made.items() if path not in wanted)
    return Step(adds, removes) if adds or removes else None


def _describe(found: Mapping[str, object], made: Mapping[str, object]) -> str:
    strange, missing = sorted(found.keys() - made.keys()), sorted(made.keys() - found.keys())
    if strange:
        return f"it holds {len(strange):,} files that the exporter did not put there, such as {strange[0][:200]}"
    if missing:
        return f"{len(missing):,} files were taken out of it, such as {missing[0]}"
    return "it gives other sizes or rows for its files than the exporter did"


def readable(states: Mapping[int, State], there: Set[str]) -> set[int]:
    """Returns the generations of which every part is `there`."""
    return {number for number, state in states.items() if state.files.keys() <= there}
