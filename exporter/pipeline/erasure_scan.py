"""Finds everything that an export holds of somebody: by ids, by a value, or by what the log keeps of erased ids."""

import base64
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from exporter.encode.protect.withheld import has_tags, is_withheld, tags_in
from exporter.encode.schema import as_columns
from exporter.errors import DamagedPartError, StoreError, UnreadableFileError
from exporter.layout import ALL_TABLES, CONVERSATIONS, DROPPED, QUARANTINE, RECORDINGS, undropped_path
from exporter.log.quarantine import id_of, row_of
from exporter.log.state import Commit, State
from exporter.model import DataFile, ExportFile
from exporter.parts.columns import ID_COLUMNS
from exporter.parts.ids import Span
from exporter.parts.integrity import opened
from exporter.parts.reader import open_part
from exporter.parts.subjects import Subject, text_mask
from exporter.pipeline.part_columns import columns_of
from exporter.pipeline.quarantine_files import lines_in, read_lines
from exporter.store.base import Store
from exporter.words import count_of

_BASE64: Final = "base64:"
_MEDIA_COLUMN: Final = "path"


@dataclass(frozen=True)
class Sought:
    """Says whose rows are looked for: those with these `ids`, those of the `subject`, and those whose id has one of the
    `tombstones`, which `tag` makes of ids. `texts` are the values as they may stand in a text that is no JSON, and
    `withheld` their tags in rows that are withheld.

    Unless it `skips`, row groups are also read that have no such row by their statistics.
    """

    ids: frozenset[str] = frozenset()
    subject: Subject | None = None
    tombstones: frozenset[str] = frozenset()
    tag: Callable[[str], str] | None = None
    texts: tuple[str, ...] = ()
    withheld: frozenset[str] = frozenset()
    skips: bool = True

    def mask(self, rows: pa.RecordBatch, table: str) -> pa.BooleanArray:
        """Says of each row of a table whether it is looked for."""
        ids = rows.column(ID_COLUMNS[table])
        found = pc.is_in(ids, pa.array(sorted(self.ids), pa.string()))
        if self.subject is not None and table == CONVERSATIONS:
            found = pc.or_(found, self.subject.mask(rows))
        if self.tag is not None and self.tombstones:
            tag, tombstones = self.tag, self.tombstones
            # Turns of a conversation lie together.
            distinct = ids.unique()
            erased = [one for one in distinct.to_pylist() if one is not None and tag(one) in tombstones]
            found = pc.or_(found, pc.is_in(ids, pa.array(erased, pa.string())))
        return found

    def has_line(self, line: bytes) -> bool | None:
        """Returns whether a line of a quarantine file is looked for; None if it does not tell whose it is."""
        identity, text = id_of(line), row_of(line)
        if identity in self.ids or (self.tag is not None and self.tag(identity) in self.tombstones):
            return True
        if self.subject is None:
            return False
        try:
            row = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return any(value in _as_text(text) for value in self.texts)
        if not isinstance(row, dict):
            return False
        if is_withheld(row):
            tags = tags_in(row) if has_tags(self.subject.column) else None
            return None if tags is None else not self.withheld.isdisjoint(tags)
        return self.subject.is_in(as_columns(row))

    def columns(self, table: str) -> list[str]:
        """Returns the columns of a table by which its rows are told."""
        own = [ID_COLUMNS[table]]
        if table == CONVERSATIONS and self.subject is not None and self.subject.column not in own:
            own.append(self.subject.column)
        return [*own, _MEDIA_COLUMN] if table == RECORDINGS else own


@dataclass(slots=True)
class Look:
    """Holds what a file has of those who are looked for: ids of conversations, their rows or lines, and media. `size`
    counts all of its rows or lines, and `untold` those lines that do not tell whose they are."""

    ids: set[str] = field(default_factory=set)
    rows: int = 0
    media: set[str] = field(default_factory=set)
    size: int = 0
    untold: int = 0

    def __bool__(self) -> bool:
        return self.rows > 0


def look_into_part(part: Path, table: str, sought: Sought) -> Look:
    """Looks into a part of a table. Blocks. Raises `StoreError`."""
    look, span, columns = Look(), Span(), sought.columns(table)
    span.widen(pa.array(sorted(sought.ids), pa.string()))
    with open_part(part) as file:
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            look.size += group.num_rows
            may_have = (
                not sought.skips
                or bool(sought.tombstones)
                or (table != CONVERSATIONS and bool(sought.ids))
                or span.meets(group)
                or (sought.subject is not None and table == CONVERSATIONS and sought.subject.may_be_in(group))
            )
            if not may_have:
                continue
            for batch in file.read_row_group(number, columns=columns, use_threads=False).to_batches():
                rows = batch.filter(sought.mask(batch, table))
                look.ids.update(rows.column(ID_COLUMNS[table]).drop_null().to_pylist())
                look.rows += rows.num_rows
                if table == RECORDINGS:
                    look.media.update(rows.column(_MEDIA_COLUMN).drop_null().to_pylist())
    return look


def look_into_lines(lines: Collection[bytes], sought: Sought) -> Look:
    """Looks into the lines of a quarantine file."""
    has = [sought.has_line(line) for line in lines]
    held = [line for line, found in zip(lines, has, strict=True) if found]
    return Look({id_of(line) for line in held}, len(held), set(), len(lines), has.count(None))


@dataclass(slots=True)
class Findings:
    """Holds what was found, by path: in `live` files, in those `kept` for older readers, and in `dropped` ones.

    `ids` are those of all conversations that were found. `unread` are dropped files that cannot be read, and `spoiled`
    ones are kept, but damaged, so that no reader of theirs is left. `untold` counts lines, by path, that do not tell
    whose they are.
    """

    live: dict[str, Look] = field(default_factory=dict)
    kept: dict[str, Look] = field(default_factory=dict)
    dropped: dict[str, Look] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    spoiled: list[str] = field(default_factory=list)
    untold: dict[str, int] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.ids)

    def note(self, where: dict[str, Look], path: str, look: Look) -> None:
        """Notes what a file has, in `where` such files are."""
        if look.untold:
            self.untold[path] = look.untold
        if look:
            where[path] = look
            self.ids |= look.ids

    @property
    def in_the_way(self) -> tuple[str, ...]:
        """Returns what keeps anybody from knowing that all was found."""
        return (
            *(f"{path}: cannot be read, so that nobody knows what it holds" for path in self.unread),
            *(
                f"{path}: {count_of(number, 'row')} withheld in a form that does not tell whose they are; the id alone "
                "finds them (--id)"
                for path, number in self.untold.items()
            ),
        )

    @property
    def media(self) -> set[str]:
        """Returns the media that rows name which were found."""
        looks = (*self.live.values(), *self.kept.values(), *self.dropped.values())
        return set[str]().union(*(look.media for look in looks))


class Search:
    """Looks into all files of an export: those in the log, and those that repairs have put aside."""

    def __init__(self, store: Store, state: State, commits: Iterable[Commit]) -> None:
        self._store = store
        known = {file.path: file for commit in commits for file in commit.change.files}
        # Files of changes hold ids, which are there to be read, and nothing else.
        self._live = [file for path, file in state.live.items() if path not in state.changes]
        self._kept = [known[path] for path in sorted(state.kept) if path in known]

    async def find(self, sought: Sought) -> Findings:
        """Finds who is looked for, and then all that is there of them. Raises `StoreError` for a file of the log that
        cannot be read, because nobody knows then whom it holds."""
        dropped = [path for path in await self._store.list(DROPPED) if can_hold_rows(path)]
        first = await self._look(sought, dropped)
        if sought.subject is None and not sought.tombstones:
            return first
        ids = frozenset({*sought.ids, *first.ids})
        found = await self._look(Sought(ids), dropped) if ids else first
        found.untold = first.untold
        return found

    async def _look(self, sought: Sought, dropped: Iterable[str]) -> Findings:
        found = Findings()
        for file in self._live:
            found.note(found.live, file.path, await self._look_into(file, sought))
        for file in self._kept:
            try:
                found.note(found.kept, file.path, await self._look_into(file, sought))
            except DamagedPartError:
                found.spoiled.append(file.path)
        for path in dropped:
            try:
                found.note(found.dropped, path, await look_into(self._store, path, sought))
            except StoreError:
                found.unread.append(path)
        return found

    async def _look_into(self, file: ExportFile, sought: Sought) -> Look:
        if not isinstance(file, DataFile):
            return look_into_lines(await read_lines(self._store, file), sought)
        async with columns_of(self._store, file, sought.columns(file.table)) as path:
            return await to_thread.run_sync(look_into_part, path, file.table, sought)


def can_hold_rows(path: str) -> bool:
    """Returns whether a file at this path, or dropped from it, may hold rows: it need not be the exporter's."""
    was = undropped_path(path) or path
    return was.startswith(f"{QUARANTINE}/") or (was.partition("/")[0] in ALL_TABLES and was.endswith(".parquet"))


async def look_into(store: Store, path: str, sought: Sought) -> Look:
    """Looks into a file at this path, or dropped from it, whatever the log says of it. Raises `StoreError`."""
    was = undropped_path(path) or path
    async with store.fetched(path) as there:
        if was.startswith(f"{QUARANTINE}/"):
            lines = await to_thread.run_sync(lines_in, there, path, store.location)
            try:
                return look_into_lines(lines, sought)
            except ValueError as error:  # also msgspec's
                raise UnreadableFileError(store.location / path, "its lines were cut or changed") from error
        return await to_thread.run_sync(look_into_part, there, was.partition("/")[0], sought)


async def find_mentions(store: Store, state: State, pattern: str, besides: Collection[str]) -> list[str]:
    """Returns the ids of other conversations in which any text has the pattern. Raises `StoreError`."""
    found = set[str]()
    for file in state.conversations:
        async with opened(store, file) as path:
            found |= await to_thread.run_sync(_mentions_in, path, pattern)
    for quarantined in state.quarantine.values():
        for line in await read_lines(store, quarantined):
            text = pa.record_batch({"row": pa.array([_as_text(row_of(line))], pa.string())})
            if text_mask(text, pattern).true_count:
                found.add(id_of(line))
    return sorted(found.difference(besides))


def _mentions_in(part: Path, pattern: str) -> set[str]:
    found, column = set[str](), ID_COLUMNS[CONVERSATIONS]
    with open_part(part) as file:
        for number in range(file.num_row_groups):
            for batch in file.read_row_group(number, use_threads=False).to_batches():
                found.update(batch.filter(text_mask(batch, pattern)).column(column).to_pylist())
    return found


def _as_text(row: str) -> str:
    """Returns a row as text, whatever its bytes are."""
    if row.startswith(_BASE64):
        try:
            return base64.b64decode(row.removeprefix(_BASE64)).decode(errors="replace")
        except ValueError:
            return row
    return row
