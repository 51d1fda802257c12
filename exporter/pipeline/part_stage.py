"""Stages parts under the names of one run until they are whole, then publishes them."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol, Self

from anyio import CapacityLimiter
from msgspec.structs import replace

from exporter.encode.tables import Tables
from exporter.model import RECORDINGS, DataFile
from exporter.parts.writer import PartWriter
from exporter.pipeline.memory import Shares
from exporter.pipeline.part_names import part_names
from exporter.pipeline.table_parts import StagedPart, TablesWriter
from exporter.settings import RunSettings
from exporter.store.base import Store


class Publication(Protocol):
    """Takes whole files to where a commit can name them by their final paths, as a `Store` does."""

    async def publish(self, staged: Path, path: str) -> None:
        """Takes a fsynced file of `Store.staging_file`. Raises `StoreError`."""

    async def create(self, path: str, data: bytes) -> object:
        """Takes the content of a file. Raises `StoreError`."""


class PartStage:
    """Names, stages and publishes parts of one run. `working` limits the threads that encode and write them.

    A run that has several stages gives all of them its `names`; by default, there is this one alone. The `publication`
    takes what is whole; by default, the store does.
    """

    def __init__(
        self,
        store: Store,
        tables: Tables,
        run: str,
        *,
        target_part_bytes: int,
        row_group_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        names: Iterator[str] | None = None,
        publication: Publication | None = None,
    ) -> None:
        self.store: Final = store
        self.publication: Final[Publication] = publication or store
        self.tables: Final = tables
        self.target_part_bytes: Final = target_part_bytes
        self.clock: Final = clock
        # Encoding holds the interpreter, compression does not: two threads keep two cores busy.
        self.working: Final = CapacityLimiter(2)
        self._run = run
        self.row_group_bytes: Final = row_group_bytes
        self._names: Final = part_names(run) if names is None else names

    @classmethod
    def of(
        cls,
        store: Store,
        tables: Tables,
        run: str,
        settings: RunSettings,
        clock: Callable[[], float],
        names: Iterator[str] | None = None,
        publication: Publication | None = None,
    ) -> Self:
        """Returns the stage of `run`, whose parts and row groups are as large as `settings` let them be."""
        written = 1 if tables.turns is None else 2
        row_group_bytes = Shares.of(settings.memory_bytes, settings.concurrency, written).row_group
        target_part_bytes = settings.target_part_bytes
        return cls(
            store,
            tables,
            run,
            target_part_bytes=target_part_bytes,
            row_group_bytes=row_group_bytes,
            clock=clock,
            names=names,
            publication=publication,
        )

    def aside(self, reading: int, tables: Tables | None = None) -> "PartStage":
        """Returns the stage for what a reading puts aside: conversations alone, under names of its own.

        `tables` makes their rows if they differ from those of the run.
        """
        return PartStage(
            self.store,
            replace(tables or self.tables, turns=None),
            f"{self._run}-r{reading}",
            target_part_bytes=self.target_part_bytes,
            row_group_bytes=self.row_group_bytes,
            clock=self.clock,
        )

    def next_name(self) -> str:
        return next(self._names)

    def new_part(self) -> TablesWriter:
        """Returns a writer of a new part of each table."""
        return TablesWriter(self.store, self.next_name(), self.tables, self.row_group_bytes)

    def new_recordings_part(self) -> tuple[str, PartWriter]:
        """Returns the name of a new part of recordings, and its writer."""
        name = self.next_name()
        schema = self.tables.schemas[RECORDINGS]
        return name, PartWriter(self.store.staging_file(name), schema, self.row_group_bytes, RECORDINGS)

    def new_part_aside(self) -> TablesWriter:
        """Returns a writer of a new part of conversations alone."""
        return TablesWriter(self.store, self.next_name(), replace(self.tables, turns=None), self.row_group_bytes)

    async def publish(self, parts: Iterable[StagedPart]) -> tuple[DataFile, ...]:
        """Moves whole parts to where a commit can name them, and returns their files."""
        files = []
        for part in parts:
            await self.publication.publish(self.store.staging_file(part.name), part.file.path)
            files.append(part.file)
        return tuple(files)
