"""Keeps one generation of an export open, and asks it one bounded question at a time."""

import asyncio
from collections import OrderedDict
from typing import Any, Final

import pyarrow as pa

from exporter.contract import Instant, parse_timestamp
from exporter.errors import ExporterError, InterruptedExportError, StoreError
from exporter.jobs.dataset import load_manifest
from exporter.layout import CONVERSATIONS
from exporter.log.published import Manifest, ManifestFile
from exporter.parts.columns import ID_COLUMNS
from exporter.query.connection import Parameters, Query, open_query
from exporter.query.interruption import end_query
from exporter.run.encryption import ReaderKeys
from exporter.store.filesystem import open_filesystem
from exporter.store.location import Location, shell_word
from exporter.store.open import open_store
from exporter.viewer.conditions import Where, within
from exporter.viewer.no_answer import NoAnswerError
from exporter.viewer.timeline import Span, Timeline, Window

#: A question that takes longer is interrupted.
QUESTION_SECONDS: Final = 30.0
_MEMORY_BYTES: Final = 512 * 1024 * 1024
#: The times of this many conversations that were shown are remembered, so that they are found again at once.
_REMEMBERED: Final = 20_000


class SlowQuestionError(ExporterError):
    """A question was interrupted because it took too long."""


class _Lane:
    """Asks one question at a time, each of which ends with the task that asks."""

    def __init__(self, query: Query) -> None:
        self.query: Final = query
        self._one_at_a_time = asyncio.Lock()

    async def fetch(self, sql: str, parameters: Parameters, seconds: float) -> pa.Table:
        async with self._one_at_a_time:
            thread = asyncio.get_running_loop().run_in_executor(None, self.query.fetch, sql, parameters)
            try:
                return await asyncio.wait_for(asyncio.shield(thread), seconds)
            except TimeoutError as error:
                await end_query(self.query, thread)
                raise SlowQuestionError(f"this took longer than {seconds:.0f} s, and was interrupted") from error
            except asyncio.CancelledError:
                await end_query(self.query, thread)
                raise

    async def close(self) -> None:
        """Closes the connection, once nothing is asked."""
        async with self._one_at_a_time:
            self.query.close()


class Export:
    """Gives access to one generation of the export at `location`, until its files are gone; then to the latest.

    A search does not hold up those who read: it is asked apart.
    """

    def __init__(self, location: Location, keys: ReaderKeys) -> None:
        self.location: Final = location
        self.keys: Final = keys
        self._opening = asyncio.Lock()
        self._created_at: OrderedDict[str, Instant] = OrderedDict()
        self._lanes: tuple[_Lane, _Lane] | None = None

    async def open(self) -> None:
        """Opens the latest generation, unless it is open. Raises the errors of `open_query`."""
        async with self._opening:
            if self._lanes is not None and await self.is_latest():
                return
            query = await open_query(self.location, self.keys, memory_bytes=_MEMORY_BYTES)
            timeline, lanes = timeline_of(query.manifest), (_Lane(query), _Lane(query.cursor()))
            async with open_store(self.location) as store:
                self.filesystem, self.prefix = open_filesystem(store)
            before, self._lanes, self.timeline = self._lanes, lanes, timeline
            self._created_at.clear()
            for lane in before or ():
                await lane.close()

    async def close(self) -> None:
        """Closes what is open, once nothing is asked."""
        lanes, self._lanes = self._lanes, None
        for lane in lanes or ():
            await lane.close()

    def _lane(self, *, searches: bool = False) -> _Lane:
        if self._lanes is None:
            raise NoAnswerError("the export is closed", 503)
        return self._lanes[searches]

    @property
    def query(self) -> Query:
        return self._lane().query

    @property
    def manifest(self) -> Manifest:
        return self.query.manifest

    @property
    def generation(self) -> int:
        return self.manifest.generation

    def check(self, generation: int | None) -> None:
        """Raises `NoAnswerError` if a page was made of another generation than the one that is open."""
        if generation not in (None, self.generation):
            raise self._has_changed(f"generation {generation} is no longer open here")

    def columns(self, table: str) -> tuple[str, ...]:
        """Returns the names of a table's columns; none if the export has no such table."""
        return tuple(self.query.schemas[table].names) if table in self.query.schemas else ()

    async def search(self, sql: str, parameters: Parameters, seconds: float) -> list[dict[str, Any]]:
        """Returns the rows of an answer that may take long. Raises as `fetch`."""
        rows: list[dict[str, Any]] = (await self.fetch(sql, parameters, seconds, searches=True)).to_pylist()
        return rows

    async def ask(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """Returns the rows of an answer. Raises as `fetch`."""
        rows: list[dict[str, Any]] = (await self.fetch(sql, parameters)).to_pylist()
        return rows

    async def fetch(
        self, sql: str, parameters: Parameters = (), seconds: float = QUESTION_SECONDS, *, searches: bool = False
    ) -> pa.Table:
        """Returns an answer.

        Raises `SlowQuestionError` if it takes longer than `seconds`; `NoAnswerError` if a run has replaced the files
        meanwhile, once the generation after is open; and the errors of `Query.fetch`.
        """
        lane = self._lane(searches=searches)
        try:
            return await lane.fetch(sql, parameters, seconds)
        except InterruptedExportError as error:
            raise SlowQuestionError("this took too long, and was interrupted") from error
        except (StoreError, OSError) as error:
            generation = lane.query.manifest.generation
            await self.open()
            if self.generation == generation:
                raise NoAnswerError(
                    f"{self.location}: files that the manifest names cannot be read; exporter verify "
                    f"{shell_word(self.location)} says which",
                    500,
                ) from error
            raise self._has_changed("a run has replaced files of the export meanwhile") from error

    async def is_latest(self) -> bool:
        """Returns whether the manifest still tells of the generation that is open. Raises the errors of
        `open_query`."""
        async with open_store(self.location) as store:
            return (await load_manifest(store)).generation == self.generation

    def _has_changed(self, what: str) -> NoAnswerError:
        return NoAnswerError(f"{what}. This shows generation {self.generation} from now on; ask again", 409)

    def remember(self, identity: str, created_at: Instant) -> None:
        """Notes when a conversation was created."""
        self._created_at[identity] = created_at
        if len(self._created_at) > _REMEMBERED:
            self._created_at.popitem(last=False)

    def within(self, table: str, window: Window) -> Where:
        """Returns the conditions of the rows of a table whose conversations were created in a window."""
        return within(table, self.query.schemas[table], window)

    async def about(self, table: str, identity: str) -> Where:
        """Returns the conditions of the rows of a table that are about a conversation. Raises as `created_at`."""
        created_at = await self.created_at(identity)
        where = self.within(table, self.timeline.window_of(created_at, created_at))
        where.add(f"{ID_COLUMNS[table]} = ?", identity)
        return where

    async def created_at(self, identity: str) -> Instant:
        """Returns when a conversation was created. Raises `NoAnswerError` if there is none, and as `ask`."""
        if (known := self._created_at.get(identity)) is not None:
            return known
        found = await self.ask(
            f"SELECT epoch_us(created_at) AS at FROM {CONVERSATIONS} WHERE id = ? LIMIT 1",  # noqa: S608 - a constant
            [identity],
        )
        if not found:
            raise NoAnswerError("there is no conversation with this id in the export", 404)
        self.remember(identity, found[0]["at"])
        return self._created_at[identity]


def timeline_of(manifest: Manifest) -> Timeline:
    """Returns when the conversations of a manifest were created."""
    return Timeline(map(_span_of, manifest.tables[CONVERSATIONS].files))


def _span_of(file: ManifestFile) -> Span:
    if file.created_at is None:
        raise StoreError(f"{file.path}: the manifest does not say when its conversations were created")
    first, last = map(parse_timestamp, (file.created_at.min, file.created_at.max))
    return Span(first, last, file.rows, next(iter(file.partition.values()), None))
