"""Applies a change to the live files of an export, and says why one does not fit them. Pure."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from exporter.contract import Instant
from exporter.coverage import Coverage, are_disjoint
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS, is_part, partition_text
from exporter.log.files import Files
from exporter.model import Change, DataFile, ExportFile, QuarantineFile


class Totals(NamedTuple):
    """Sums up what live parts hold. `rows` are conversations; `turns` is None if that table was not asked for."""

    rows: int
    turns: int | None
    files: int
    bytes: int
    open_rows: int

    @classmethod
    def of(cls, files: Files, tables: Collection[str]) -> "Totals":
        return cls(
            rows=sum(files.each_of("rows", CONVERSATIONS)),
            turns=sum(files.each_of("rows", TURNS)) if TURNS in tables else None,
            files=len(files.only(DataFile)),
            bytes=sum(files.each_of("size_bytes")),
            open_rows=sum(files.each_of("open_rows")),
        )


def is_keyed(table: str) -> bool:
    """Returns whether rows of `table` are found by key alone, so that the windows of its parts may overlap.

    Its windows say where its rows lie, and nothing about what is covered.
    """
    return table == RECORDINGS


class LiveFiles:
    """Holds live files while commits are folded. What a commit costs here is in proportion to its own files: each index
    is made when it is first wanted, and kept from then on."""

    def __init__(self, live: Mapping[str, ExportFile]) -> None:
        self.by_path = Files(live)
        self._windows: dict[str, list[tuple[Instant, Instant, str]]] = {}

    @cached_property
    def partitions(self) -> Counter[str]:
        """Returns the number of parts in each partition that has any, by its name as in `layout.partition_text`."""
        return Counter(self.by_path.each_of("partition_text"))

    @cached_property
    def _withheld(self) -> Counter[str]:
        found = Counter[str]()
        found["rows"] = sum(self.by_path.each_of("rows", CONVERSATIONS))
        found["withheld"] = sum(self.by_path.each_of("withheld_rows"))
        return found

    def may_change_doubts(self, change: Change) -> bool:
        """Returns whether a change touches rows in quarantine, or what is withheld while other rows have it."""
        gone = [self.by_path[path] for path in change.removes]
        if change.quarantines or any(isinstance(file, QuarantineFile) for file in gone):
            return True
        rows, withheld = self._withheld["rows"], self._withheld["withheld"]
        signed = [(-1, file) for file in gone if isinstance(file, DataFile)] + [(1, file) for file in change.adds]
        rows_after = rows + sum(sign * file.rows for sign, file in signed if file.table == CONVERSATIONS)
        withheld_after = withheld + sum(sign * file.withheld_rows for sign, file in signed)
        role_changed, was_changed = 0 < withheld_after < rows_after, 0 < withheld < rows
        return role_changed != was_changed or (role_changed and any(file.withheld_rows for _, file in signed))

    def change(self, change: Change) -> None:
        """Takes a change, against which there must be no objections."""
        for path in {*change.removes, *change.outdates}:
            self._count(self.by_path.pop(path), -1)
        for file in change.files:
            self.by_path.add(file)
            self._count(file, 1)

    def takes(self, file: DataFile, removed: Collection[str]) -> bool:
        """Returns whether another part of the same table, which stays, speaks for some of the window of `file`."""
        windows = self._windows.get(file.table)
        if windows is None:
            parts = self.by_path.each("table", "window.start", "window.end", "path")
            windows = self._windows[file.table] = sorted(
                (start, end, path) for table, start, end, path in parts if table == file.table
            )
        # No two of them share an instant: before one that ends too early, none ends later.
        at = bisect_left(windows, (file.window.end,))
        while at and windows[at - 1][1] > file.window.start:
            at -= 1
            if windows[at][2] not in removed:
                return True
        return False

    def _count(self, file: ExportFile, number: int) -> None:
        if not isinstance(file, DataFile):
            return
        if (windows := self._windows.get(file.table)) is not None:
            one = (file.window.start, file.window.end, file.path)
            if number > 0:
                insort(windows, one)
            else:
                del windows[bisect_left(windows, one)]
        if "partitions" in self.__dict__:
            self.partitions[text := partition_text(file.partition)] += number
            if not self.partitions[text]:
                del self.partitions[text]
        if "_withheld" in self.__dict__:
            self._withheld["rows"] += number * file.rows if file.table == CONVERSATIONS else 0
            self._withheld["withheld"] += number * file.withheld_rows


def objections(files: LiveFiles, change: Change, coverage: Coverage) -> Iterator[str]:
    """Says why `change` does not fit the live `files`; `coverage` is what is covered after it."""
    live = files.by_path
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
        yield from _window_objections(files, change, coverage, table)


def _window_objections(live: LiveFiles, change: Change, coverage: Coverage, table: str) -> Iterator[str]:
    """Says which windows overlap. Those of a table's live files must not: a new one fits into what the change covers or
    makes free, and may span what is covered without a file."""
    gone = [live.by_path[path] for path in change.removes]
    room = Coverage(file.window for file in gone if isinstance(file, DataFile) and file.table == table)
    free = Coverage(change.covers) | (room - Coverage(change.uncovers))
    added, removed = [file for file in change.adds if file.table == table], frozenset(change.removes)
    for file in added:
        window = Coverage([file.window])
        if window - free and (window - coverage or live.takes(file, removed)):
            yield f"adds {file.path}, whose window is not its own"
    if not are_disjoint(file.window for file in added):
        yield f"adds two files of {table} that share a window"
