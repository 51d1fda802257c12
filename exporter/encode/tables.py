"""Says what a request makes of the rows that are served: the tables, their columns, and the partition of a row."""

from collections.abc import Mapping
from typing import Self

import msgspec
import pyarrow as pa

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.encode.batch import Encoder
from exporter.encode.protect.protector import Protector
from exporter.encode.recordings import recordings_schema
from exporter.encode.turns import TurnsEncoder
from exporter.model import CONVERSATIONS, RECORDINGS, TURNS
from exporter.partitions import Partition, key_of, partition_of
from exporter.privacy import NO_FLOORS
from exporter.settings import PartitionBy, Request
from exporter.zones import load_zone


class Tables(msgspec.Struct, frozen=True):
    """Holds the tables of one request. `turns` makes that table, and is None if it was not asked for.

    `protector` protects what is encoded, and `policy` is the fingerprint of the policy that all rows follow.
    """

    encoder: Encoder
    turns: TurnsEncoder | None
    partition_by: PartitionBy
    zone: str
    protector: Protector | None = None
    policy: str = ""

    @classmethod
    def of(
        cls, request: Request, protector: Protector | None = None, floors: Mapping[str, Instant] = NO_FLOORS
    ) -> Self:
        """Returns the tables of a request; `protector` changes their rows, and `floors` are those of fields, as in
        `Encoder`. Raises `UsageError` if this machine does not know the time zone."""
        load_zone(request.timezone)
        turns = TurnsEncoder(protector) if TURNS in request.tables else None
        policy = "" if protector is None else protector.fingerprint
        encoder = Encoder(request.fields, protector, floors)
        return cls(encoder, turns, request.partition_by, request.timezone, protector, policy)

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """Returns the columns of each table, by its name. That of recordings is there whether the export has any."""
        turns = {} if self.turns is None else {TURNS: self.turns.schema}
        return {CONVERSATIONS: self.encoder.schema, **turns, RECORDINGS: recordings_schema()}

    def place(self, created_at: Instant) -> tuple[Partition, Interval | None]:
        """Returns the partition of a row, and the instants that share it (None: all)."""
        return partition_of(created_at, self.partition_by, self.zone)

    @property
    def partition_key(self) -> str | None:
        """Returns the key that names the directories of partitions; None if there is only one partition."""
        return key_of(self.partition_by)
