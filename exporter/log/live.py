"""Applies a change to the live files of an export, and says why one does not fit them. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from exporter.coverage import Coverage, are_disjoint
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS, is_part
from exporter.model import Change, DataFile, ExportFile


class Totals(NamedTuple):
    """Sums up what live parts hold. `rows` are conversations; `turns` is None if that table was not asked for."""

    rows: int
    turns: int | None
    files: int
    bytes: int
    open_rows: int

    @classmethod
    def of(cls, parts: Collection[DataFile], tables: Collection[str]) -> "Totals":
        rows = {table: sum(part.rows for part in parts if part.table == table) for table in (CONVERSATIONS, TURNS)}
        return cls(
            rows=rows[CONVERSATIONS],
            turns=rows[TURNS] if TURNS in tables else None,
            files=len(parts),
            bytes=sum(part.size_bytes for part in parts),
            open_rows=sum(part.open_rows for part in parts),
        )


def is_keyed(table: str) -> bool:
    """Returns whether rows of `table` are found by key alone, so that the windows of its parts may overlap.

    Its windows say where its rows lie, and nothing about what is covered.
    """
    return table == RECORDINGS


def next_live(live: Mapping[str, ExportFile], change: Change) -> Mapping[str, ExportFile]:
    """Returns the live files after `change`, against which there must be no objections."""
    files = dict(live)
    for path in {*change.removes, *change.outdates}:
        del files[path]
    files.update((file.path, file) for file in change.files)
    return files


def objections(live: Mapping[str, ExportFile], change: Change, coverage: Coverage) -> Iterator[str]:
    """Says why `change` does not fit the `live` files; `coverage` is what is covered after it."""
    dropped, removed = Coverage(change.uncovers), {*change.removes}
    yield from (f"removes {path}, which is not there" for path in change.removes if path not in live)
    if len(removed) < len(change.removes):
        yield "removes a file twice"
    if dropped:
        for file in live.values():
            if not isinstance(file, DataFile) or is_keyed(file.table) or file.path in removed:
                continue
            if Coverage([file.window]) & dropped:
                yield f"uncovers the window of {file.path} and keeps the file"
    yield from (
        f"adds {file.path}, which is there already"
        for file in change.files
        if file.path in live and file.path not in removed
    )
    if len({file.path for file in change.files}) < len(change.files):
        yield "adds a file twice"
    for file in change.adds:
        if not is_part(file.path):
            yield f"adds {file.path}, which is no part"
        if file.created_at_min not in file.window or file.created_at_max not in file.window:
            yield f"adds {file.path}, with rows outside its window"
    for table in {file.table for file in change.adds if not is_keyed(file.table)}:
        yield from _window_objections(live, change, coverage, table)


def _window_objections(live: Mapping[str, ExportFile], change: Change, coverage: Coverage, table: str) -> Iterator[str]:
    """Says which windows overlap. Those of a table's live files must not: a new one fits into what the change covers or
    makes free, and may span what is covered without a file."""
    gone = [live[path] for path in change.removes]
    room = Coverage(file.window for file in gone if isinstance(file, DataFile) and file.table == table)
    free = Coverage(change.covers) | (room - Coverage(change.uncovers))
    added = [file for file in change.adds if file.table == table]
    for file in added:
        window = Coverage([file.window])
        if window - free and (window - coverage or _is_taken(file, live, change)):
            yield f"adds {file.path}, whose window is not its own"
    if not are_disjoint(file.window for file in added):
        yield f"adds two files of {table} that share a window"


def _is_taken(file: DataFile, live: Mapping[str, ExportFile], change: Change) -> bool:
    """Returns whether another file of the same table, which stays, speaks for some of the window."""
    return any(
        isinstance(other, DataFile)
        and other.table == file.table
        and other.window.start < file.window.end
        and file.window.start < other.window.end
        and other.path not in change.removes
        for other in live.values()
    )
