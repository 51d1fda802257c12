"""Runs one task as a data source of one row, for sessions that have no RDDs."""

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

from exporter.engines.spark.attempt import attempted

if TYPE_CHECKING:
    from pyspark.sql.types import StructType


class TaskSource(DataSource):  # type: ignore[misc]
    """Has a row: whether the function `work` has answered the task `share`, which is in base64, and the answer."""

    @classmethod
    def name(cls) -> str:
        return "exporter_task"

    def schema(self) -> str:
        return "is_answer BOOLEAN, answer BINARY"

    def reader(self, schema: "StructType") -> "TaskReader":
        return TaskReader(self.options["work"], self.options["share"])


class TaskReader(DataSourceReader):  # type: ignore[misc]
    """Runs the task where its only partition is read."""

    def __init__(self, work: str, share: str) -> None:
        self._work = work
        self._share = share

    def read(self, _partition: InputPartition) -> Iterator[tuple[bool, bytes]]:
        yield attempted(self._work, base64.b64decode(self._share))
