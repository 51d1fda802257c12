"""Writes one part of each table at a time: conversations, and the turns that their transcripts hold.

Beside each part of conversations lies one of turns, with the same name, partition and window, unless it has no turns.
It is made from the rows that are written, whether an export, a sync or a merge writes them.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

import msgspec
import pyarrow as pa

from exporter.coverage import Interval
from exporter.encode.tables import Tables
from exporter.layout import CONVERSATIONS, TURNS, part_path
from exporter.model import DataFile
from exporter.parts.writer import PartWriter, WrittenPart
from exporter.store.base import Store


class StagedPart(msgspec.Struct):
    """Describes a whole part that still lies where it was staged under `name`."""

    name: str
    file: DataFile


class TableParts(msgspec.Struct, frozen=True):
    """Holds what `TablesWriter` has written: the part of each table, and the name under which it is staged. All follow
    the `policy` with this fingerprint."""

    name: str
    parts: dict[str, tuple[str, WrittenPart]]
    policy: str = ""

    def closed(
        self, partition: dict[str, str], window: Interval, absent: Mapping[str, int], withheld_rows: int
    ) -> list[StagedPart]:
        """Returns the parts as a commit describes them. `absent` and `withheld_rows` are those of the conversations."""
        return [
            StagedPart(staged, self._file(table, part, partition, window, absent, withheld_rows))
            for table, (staged, part) in self.parts.items()
        ]

    def _file(
        self,
        table: str,
        part: WrittenPart,
        partition: dict[str, str],
        window: Interval,
        absent: Mapping[str, int],
        withheld_rows: int,
    ) -> DataFile:
        of_conversations = table == CONVERSATIONS
        return DataFile(
            path=part_path(table, partition, self.name),
            table=table,
            partition=partition,
            rows=part.rows,
            size_bytes=part.size_bytes,
            sha256=part.sha256,
            created_at_min=part.created_at_min,
            created_at_max=part.created_at_max,
            window=window,
            absent={name: count for name, count in absent.items() if count} if of_conversations else {},
            withheld_rows=withheld_rows if of_conversations else 0,
            open_rows=part.open_rows,
            recorded_rows=part.recorded_rows if of_conversations else None,
            unrecorded_rows=part.unrecorded_rows if of_conversations else None,
            policy=self.policy,
            key=part.key,
        )


class TablesWriter:
    """Writes conversations, from new to old, and their turns if `tables` has them. Raises as `PartWriter` does."""

    def __init__(self, store: Store, name: str, tables: Tables, row_group_bytes: int) -> None:
        self.name: Final = name
        #: The columns of conversations.
        self.schema: Final = tables.encoder.schema
        self._store = store
        self._row_group_bytes = row_group_bytes
        self._encoder = tables.turns
        self._policy = tables.policy
        self._conversations = PartWriter(store.staging_file(name), self.schema, row_group_bytes)
        self._turns: PartWriter | None = None

    @property
    def size_bytes(self) -> int:
        """Returns the size of the larger part, as in `PartWriter`."""
        return max(self._conversations.size_bytes, 0 if self._turns is None else self._turns.size_bytes)

    def write(self, conversations: pa.RecordBatch) -> None:
        self._conversations.write(conversations)
        if self._encoder is None:
            return
        for batch in self._encoder.encode(conversations):
            if self._turns is None:
                staged = self._store.staging_file(self._staged_turns)
                self._turns = PartWriter(staged, self._encoder.schema, self._row_group_bytes, TURNS)
            self._turns.write(batch)

    def close(self) -> TableParts:
        parts = {CONVERSATIONS: (self.name, self._conversations.close())}
        if self._turns is not None:
            parts[TURNS] = (self._staged_turns, self._turns.close())
        return TableParts(self.name, parts, self._policy)

    def abort(self) -> None:
        with ExitStack() as aborting:
            aborting.callback(self._conversations.abort)
            if self._turns is not None:
                aborting.callback(self._turns.abort)

    @property
    def _staged_turns(self) -> str:
        return f"{self.name}-{TURNS}"
