"""Gives what has changed in an export between two generations, net: `exporter changes`. It changes nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
from anyio import to_thread

from exporter.errors import (
    ChangesGoneError,
    DamagedPartError,
    ProtectionError,
    StoreError,
    UnreadableFileError,
    UsageError,
)
from exporter.jobs.change_feed import ChangeFeed
from exporter.jobs.change_survey import Survey
from exporter.jobs.dataset import load_table, schema_of, table_schema
from exporter.keys import NO_KEYS, Keys
from exporter.layout import CONVERSATIONS
from exporter.log.commits import load_commits, load_state, load_states
from exporter.log.net_changes import ChangedRow, Touched
from exporter.log.state import Commit, State
from exporter.model import TABLES, TURNS, ChangesFile
from exporter.parts.changes import WAS_COLUMN, read_changes
from exporter.parts.cipher import Cipher, using
from exporter.parts.columns import ID_COLUMN, SORT_COLUMN
from exporter.parts.integrity import as_written, missized
from exporter.parts.rows import PartRows
from exporter.run.encryption import reader_keys
from exporter.store.base import Store
from exporter.store.location import Location, shell_word
from exporter.store.open import open_store
from exporter.words import did_you_mean

_EVERYTHING: Final = "Take everything: the changes from generation 0 are all rows, as inserts"


async def changes(
    location: Location, since: int, *, to: int | None = None, table: str = CONVERSATIONS, keys: Keys = NO_KEYS
) -> ChangeFeed:
    """Returns the net changes from generation `since` to generation `to`, or the latest; no row is read yet, except
    where it takes ids to count them.

    Raises `UsageError` for a table or a generation that does not exist, `ChangesGoneError` if the changes are no longer
    known, `DestinationError` if there is no export, `ProtectionError` if a key is missing or wrong, and `StoreError`,
    also if another command has changed the export meanwhile.
    """
    if table not in TABLES:
        near = did_you_mean(table, TABLES) or f" The tables are {', '.join(TABLES)}"
        raise UsageError(f"--table {table}: no such table to follow.{near}")
    async with open_store(location) as store:
        manifest, shown = await load_table(store, table)
        states = await _States.of(store, since, to)
        commits = await load_commits(store, since, states.after.number) if since else []
        schema = table_schema(schema_of(shown), manifest.request.partition_by)
        try:
            return await _feed(store, commits, states, table, schema, keys)
        except (DamagedPartError, UnreadableFileError) as error:
            # What a later commit has replaced is no damage.
            if (await load_state(store)).number > states.head.number:
                raise StoreError(
                    f"{location}: another command has changed the export while its changes were looked up. Run again"
                ) from error
            raise


class _States:
    """Holds the state at both ends of a feed, and at the end of the log."""

    def __init__(self, before: State, after: State, head: State) -> None:
        self.before = before
        self.after = after
        self.head = head

    @classmethod
    async def of(cls, store: Store, since: int, to: int | None) -> "_States":
        """Raises `UsageError` for a generation that does not exist, and `StoreError`."""
        head = await load_state(store)
        last = head.number if to is None else to
        for option, number, least in (("--to-generation", last, 1), ("--from-generation", since, 0)):
            if not least <= number <= head.number:
                raise UsageError(f"{option} {number}: the generations are {least} to {head.number}")
        if since > last:
            raise UsageError(f"--from-generation {since}: is after --to-generation {last}")
        states = {**await load_states(store, {since, last} - {head.number}), head.number: head}
        return cls(states[since], states[last], head)


async def _feed(
    store: Store, commits: list[Commit], states: _States, table: str, schema: pa.Schema, keys: Keys
) -> ChangeFeed:
    since, after = states.before.number, states.after
    ciphers = _ciphers(store.location, states.head, keys)
    touched = Touched(states.before.coverage)
    if since:
        _check_known(store.location, states, commits)
        told = {one.number: states.head.changes[path] for path, one in states.head.feed.told.items()}
        for commit in commits:
            file = told.get(commit.number)
            touched.note(commit.change, () if file is None else await _changed_rows(store, file, ciphers))
    rows_of = PartRows.of(store, ciphers)
    survey = Survey(rows_of, after, touched, begins_unsettled=bool(states.before.unsettled))
    await _check_there(store, states, survey, table)
    await to_thread.run_sync(survey.take)
    return ChangeFeed(rows_of, survey, since=since, table=table, columns=schema)


def _check_known(location: Location, states: _States, commits: list[Commit]) -> None:
    """Raises `ChangesGoneError` if a commit between both ends did not say, or no longer says, what it has changed."""
    since, head = states.before.number, states.head.feed
    changed = (commit.number for commit in commits if any(file.in_place_of is None for file in commit.change.changed))
    told = {one.number for one in head.told.values()}
    if since < states.after.feed.start or not told.issuperset(changed):
        raise ChangesGoneError(
            f"{location}: what has changed since generation {since} is no longer known, only since generation "
            f"{head.start}. {_EVERYTHING}"
        )


async def _changed_rows(store: Store, file: ChangesFile, ciphers: Mapping[str, Cipher]) -> list[ChangedRow]:
    """Returns what a commit has done to rows, by its file."""
    with using(ciphers.get(file.key)):
        # An id that is read wrong would be a change that nobody misses.
        async with as_written(store, file) as path:
            return await to_thread.run_sync(lambda: [*_rows_in(path)])


def _rows_in(path: Path) -> Iterator[ChangedRow]:
    for batch in read_changes(path):
        times = [batch.column(name).cast(pa.int64()).to_pylist() for name in (WAS_COLUMN, SORT_COLUMN)]
        yield from map(ChangedRow, batch.column(ID_COLUMN).to_pylist(), *times)


async def _check_there(store: Store, states: _States, survey: Survey, table: str) -> None:
    """Raises `ChangesGoneError` if a part of an older generation is gone, and `DamagedPartError` if one of now is."""
    parts = survey.conversations
    needed = [*parts, *(turns for part in parts if table == TURNS for turns in states.after.turns_beside(part))]
    damaged = await missized(store, {file.path: file.size_bytes for file in needed})
    if not damaged:
        return
    number, location = states.after.number, store.location
    if damaged.keys() <= states.head.live.keys():
        path, damage = next(iter(damaged.items()))
        raise DamagedPartError(location / path, damage.detail, shell_word(location), damage.kind)
    raise ChangesGoneError(
        f"{location}: of the files of generation {number}, {len(damaged):,} were replaced since, and are not kept. "
        "Take the changes up to the latest generation: leave --to-generation out"
    )


def _ciphers(location: Location, head: State, keys: Keys) -> Mapping[str, Cipher]:
    """Returns what opens the files of an export, by the name of their key. Raises `ProtectionError` if one is missing
    or wrong."""
    encryption, known = head.privacy.encryption, reader_keys(keys.data_file, keys.environment)
    found = {}
    for name in sorted({getattr(file, "key", "") for file in head.live.values()} - {""}):
        try:
            found[name] = known.cipher(location, name, encryption)
        except ProtectionError:
            # The policy may say where the key is.
            if encryption is None or encryption.key.name != name:
                raise
            found[name] = Cipher(encryption, keys.data(encryption.key))
    return found
