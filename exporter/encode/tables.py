"""Says what a request makes of the rows that are served: the tables, their columns, and the partition of a row."""

from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from exporter.contract import Instant
from exporter.encode.batch import Encoder
from exporter.encode.turns import TurnsEncoder
from exporter.layout import partition_of
from exporter.model import CONVERSATIONS, TURNS, Interval
from exporter.settings import PartitionBy, Request


@dataclass(frozen=True, slots=True)
class Tables:
    """Holds the tables of one request. `turns` makes that table, and is None if it was not asked for."""

    encoder: Encoder
    turns: TurnsEncoder | None
    partition_by: PartitionBy

    @classmethod
    def of(cls, request: Request) -> Self:
        return cls(Encoder(request.fields), TurnsEncoder() if TURNS in request.tables else None, request.partition_by)

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """Returns the columns of each table, by its name."""
        turns = {} if self.turns is None else {TURNS: self.turns.schema}
        return {CONVERSATIONS: self.encoder.schema, **turns}

    def place(self, created_at: Instant) -> tuple[dict[str, str], Interval | None]:
        """Returns the partition of a row, and the instants that share it (None: all)."""
        return partition_of(created_at, self.partition_by)

    @property
    def partition_key(self) -> str | None:
        """Returns the key that names the directories of partitions; None if there is only one partition."""
        return next(iter(self.place(0)[0]), None)
