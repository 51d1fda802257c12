"""Says how an Iceberg table is partitioned.

Iceberg's own transforms know the hours, days and months of UTC, and prune them by `created_at`. Weeks, and units of
another time zone, are a column of the table, which no file has: readers take its value from the partition.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, HourTransform, IdentityTransform, MonthTransform, Transform
from pyiceberg.types import TimestamptzType
from pyiceberg.utils.datetime import date_str_to_days

from exporter.encode.schema import partition_field
from exporter.model import DataFile
from exporter.zones import UTC_NAME

_TRANSFORMS: Final[dict[str, Transform[Any, Any]]] = {
    "created_date": DayTransform(),
    "created_hour": HourTransform(),
    "created_month": MonthTransform(),
}
_FIRST_ID: Final = 1000


@dataclass(frozen=True, slots=True)
class IcebergPartition:
    """Holds the transform of the column `source`; `added` is that column if no file has it."""

    source: str
    transform: Transform[Any, Any]
    added: pa.Field | None

    @classmethod
    def of(cls, key: str, zone: str, time_column: str) -> Self:
        """Returns what the directories' `key` in a time zone becomes."""
        if zone == UTC_NAME and key in _TRANSFORMS:
            return cls(time_column, _TRANSFORMS[key], None)
        return cls(key, IdentityTransform(), partition_field(key))

    def spec(self, schema: Schema) -> PartitionSpec:
        """Returns the specification for a new table."""
        name = f"{self.source}_{self.transform.root}" if self.added is None else self.source
        return PartitionSpec(PartitionField(schema.find_field(self.source).field_id, _FIRST_ID, self.transform, name))

    def value_of(self, file: DataFile) -> Any:
        """Returns the partition of a part, as Iceberg holds it."""
        if self.added is None:
            return self.transform.transform(TimestamptzType())(file.created_at_min)
        text = file.partition[self.source]
        return date_str_to_days(text) if self.added.type == pa.date32() else text
