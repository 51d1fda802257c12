"""Holds the live files of an export by path: parts that a checkpoint has brought as columns, the rest as objects.

Most runs ask for sums, or for a few files. What they cost here is in proportion to what they change.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import cached_property
from itertools import chain, compress
from operator import attrgetter
from typing import Any, Final, overload

from exporter.contract import Instant
from exporter.coverage import Coverage
from exporter.layout import partition_text
from exporter.log.columns import Columns
from exporter.model import DataFile, ExportFile


class Files(Mapping[str, ExportFile]):
    """Maps paths to files, in their order: first the `columns`, except those parts that are `gone`, then `added`."""

    __slots__ = ("added", "columns", "gone")

    def __init__(self, files: Mapping[str, ExportFile] | Columns = Columns()) -> None:  # noqa: B008 - never changes
        """Takes over columns, or copies files; of `Files`, only what differs from their columns."""
        self.columns: Final = files if isinstance(files, Columns) else getattr(files, "columns", Columns())
        self.gone: Final[set[int]] = set(files.gone) if isinstance(files, Files) else set()
        rest = files.added if isinstance(files, Files) else {} if isinstance(files, Columns) else files
        self.added: Final[dict[str, ExportFile]] = dict(rest)

    def __getitem__(self, path: str) -> ExportFile:
        if (found := self.added.get(path)) is not None:
            return found
        return self.columns.part(self._position(path))

    def __contains__(self, path: object) -> bool:
        return path in self.added or (
            (position := self.columns.positions.get(path)) is not None  # type: ignore[call-overload]
            and position not in self.gone
        )

    def __iter__(self) -> Iterator[str]:
        return chain(self._stay(self.columns.paths), self.added)

    def __len__(self) -> int:
        return len(self.columns) - len(self.gone) + len(self.added)

    def items(self) -> ItemsView[str, ExportFile]:
        return self._objects().items()

    def values(self) -> ValuesView[ExportFile]:
        return self._objects().values()

    def keys(self) -> KeysView[str]:
        return KeysView(self)

    def add(self, file: ExportFile) -> None:
        """Adds a file, whose path no other has."""
        self.added[file.path] = file

    def pop(self, path: str) -> ExportFile:
        """Takes a file out, and returns it. Raises `KeyError`."""
        if path in self.added:
            return self.added.pop(path)
        position = self._position(path)
        self.gone.add(position)
        return self.columns.part(position)

    def each(self, *names: str, table: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Yields these attributes of each part, of one `table` or of all: see `Columns.column`."""
        return zip(*self._each(names, table), strict=True)

    def each_of(self, name: str, table: str | None = None) -> Iterator[Any]:
        """Yields one attribute of each part, as `each`, without a tuple around it."""
        return self._each((name,), table)[0]

    def _each(self, names: Sequence[str], table: str | None) -> list[Iterator[Any]]:
        found = [self._stay(self.columns.column(name)) for name in names]
        if table is not None and not self.columns.tables <= {table}:
            is_of = [one == table for one in self._stay(self.columns.column("table"))]
            found = [compress(column, is_of) for column in found]
        parts = [file for file in self.added.values() if isinstance(file, DataFile) and table in (None, file.table)]
        return [chain(column, map(_getter(name), parts)) for name, column in zip(names, found, strict=True)]

    def absent(self, table: str) -> dict[str, int]:
        """Returns how many rows of a table came without each field."""
        columns, found = self.columns, dict[str, int]()
        times = columns.shares - Counter(columns.share(position) for position in self.gone)
        counts = [
            (number, columns.tallies[at])
            for (place, at), number in times.items()
            if columns.places[place].table == table
        ]
        parts = [(1, file) for file in self.added.values() if isinstance(file, DataFile) and file.table == table]
        for number, one in (*counts, *parts):
            for name, count in one.absent.items():
                found[name] = found.get(name, 0) + number * count
        return found

    def policies(self) -> set[tuple[str, str]]:
        """Returns the table and the policy of each part, and perhaps those of parts that are gone."""
        parts = [file for file in self.added.values() if isinstance(file, DataFile)]
        return {(one.table, one.policy) for one in (*self.columns.places, *parts)}

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yields the path and the size of each file."""
        return chain(
            zip(self._stay(self.columns.paths), self._stay(self.columns.own["size_bytes"]), strict=True),
            ((path, file.size_bytes) for path, file in self.added.items()),
        )

    def names(self) -> dict[str, list[str]]:
        """Returns the names of all files, by the directory that they lie in."""
        by_place: list[list[str]] = [[] for _ in self.columns.places]
        for place, name in zip(
            self._stay(self.columns.own["place"]), self._stay(self.columns.own["name"]), strict=True
        ):
            by_place[place].append(name)
        found: dict[str, list[str]] = {}
        for one, of_place in zip(self.columns.places, by_place, strict=True):
            found.setdefault(one.directory[:-1], []).extend(of_place)
        for path in self.added:
            directory, _, name = path.rpartition("/")
            found.setdefault(directory, []).append(name)
        return found

    def only(self, *kinds: type[ExportFile]) -> "Files":
        """Returns the files of some kinds; all columns are of parts."""
        found = Files(self.columns if DataFile in kinds else Columns())
        found.gone.update(self.gone if DataFile in kinds else ())
        found.added.update((path, file) for path, file in self.added.items() if isinstance(file, kinds))
        return found

    def packed(self) -> Columns:
        """Returns all parts as columns."""
        kept = self.columns.without(self.gone) if self.gone else self.columns
        return kept.followed_by(file for file in self.added.values() if isinstance(file, DataFile))

    def _objects(self) -> dict[str, ExportFile]:
        parts = self._stay(self.columns.parts) if self.columns else ()
        return {**{part.path: part for part in parts}, **self.added}

    def _position(self, path: str) -> int:
        position = self.columns.positions[path]
        if position in self.gone:
            raise KeyError(path)
        return position

    def _stay(self, column: Sequence[Any]) -> Iterable[Any]:
        if not self.gone:
            return column
        stays = bytearray(b"\1") * len(column)
        for position in self.gone:
            stays[position] = 0
        return compress(column, stays)


class TableParts(Sequence[DataFile]):
    """Holds the live parts of one table, which become objects when they are looked at."""

    def __init__(self, files: Files, table: str) -> None:
        self._files, self._table = files, table

    @cached_property
    def _parts(self) -> tuple[DataFile, ...]:
        of_columns = self._table in self._files.columns.tables
        files = self._files.values() if of_columns else self._files.added.values()
        return tuple(file for file in files if isinstance(file, DataFile) and file.table == self._table)

    @overload
    def __getitem__(self, position: int) -> DataFile: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[DataFile]: ...
    def __getitem__(self, position: int | slice) -> DataFile | Sequence[DataFile]:
        return self._parts[position]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[DataFile]:
        return iter(self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableParts) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(tuple(file.path for file in self))

    def each(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yields these attributes of each part, as `Files.each`."""
        return self._files.each(*names, table=self._table)

    def each_of(self, name: str) -> Iterator[Any]:
        """Yields one attribute of each part, as `Files.each_of`."""
        return self._files.each_of(name, self._table)

    def at(self, paths: Iterable[str]) -> list[DataFile]:
        """Returns the parts at these paths."""
        return [file for path in paths if isinstance(file := self._files[path], DataFile)]

    def each_within(self, coverage: Coverage, *names: str) -> Iterator[Sequence[Any]]:
        """Does what `each` does, for those parts whose windows share an instant with `coverage`."""
        starts, ends = [one.start for one in coverage], [one.end for one in coverage]
        if not starts:
            return
        first, last = starts[0], ends[-1]
        is_near = [start < last and end > first for start, end in self.each("window.start", "window.end")]
        for start, end, *found in compress(self.each("window.start", "window.end", *names), is_near):
            after = bisect_left(starts, end)
            if after and ends[after - 1] > start:
                yield found

    def times_within(self, coverage: Coverage) -> Iterator[Instant]:
        """Yields when the first and the last row of each of these parts were created."""
        return chain.from_iterable(self.each_within(coverage, "created_at_min", "created_at_max"))

    def within(self, coverage: Coverage) -> list[DataFile]:
        """Returns the parts whose windows share an instant with `coverage`."""
        return self.at(path for (path,) in self.each_within(coverage, "path"))


def _getter(name: str) -> Any:
    return _text_of if name == "partition_text" else attrgetter(name)


def _text_of(file: DataFile) -> str:
    return partition_text(file.partition)
