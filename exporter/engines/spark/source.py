"""Gives the rows of the API to Spark, as the data source `anyreach`: a window of the range is a partition of it."""

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

from exporter.clock import wall_clock
from exporter.contract import BEGINNING, END_OF_TIME, format_instant
from exporter.coverage import Interval
from exporter.engines.spark.options import SourceOptions, settle
from exporter.engines.spark.pushdown import narrowed
from exporter.errors import DoubtfulStreamError, UsageError
from exporter.jobs.batch_iterator import BatchIterator
from exporter.jobs.divided_stream import StreamWindow, divide, window_stream
from exporter.options.dialect import for_caller
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.settings import Selection
from exporter.zones import UTC_NAME

if TYPE_CHECKING:
    from pyspark.sql.datasource import Filter
    from pyspark.sql.types import StructType

_LOG: Final = logging.getLogger("exporter.spark")


class Anyreach(DataSource):  # type: ignore[misc]
    """Reads conversations as a DataFrame; register it once in a session:

        spark.dataSource.register(exporter.spark.Anyreach)
        calls = spark.read.format("anyreach").option("since", "2026-01-01").option("until", "2026-02-01").load()

    The range is settled by `load`, which asks the API nothing; every action asks again. The token is found where a task
    runs. A read that leaves anything in doubt fails, as `DoubtfulStreamError`.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(options)
        self.settled: Final = settle(options, os.environ, wall_clock())

    @classmethod
    def name(cls) -> str:
        return "anyreach"

    def schema(self) -> str:
        return self.settled.ddl

    def reader(self, schema: "StructType") -> "WindowReader":
        names, own = schema.fieldNames(), self.settled.schema.names
        if names != own:
            raise UsageError(
                "the columns are given by the API: leave out .schema(…), and name them in the option fields"
            )
        return PushdownReader(self.settled) if self.settled.pushdown else WindowReader(self.settled)


class WindowPartition(InputPartition):  # type: ignore[misc]
    """Holds one window as a partition, which Spark sends to whoever reads it."""

    def __init__(self, window: StreamWindow) -> None:
        super().__init__(window)

    def __repr__(self) -> str:
        return f"WindowPartition({_words(self.value)})"


class WindowReader(DataSourceReader):  # type: ignore[misc]
    """Plans the windows in the driver, and reads each in an executor."""

    def __init__(self, options: SourceOptions) -> None:
        self._options = options

    def partitions(self) -> list[InputPartition]:
        """Asks the API what it takes to divide the range. Raises `SourceError`."""
        options = self._options
        with for_caller():
            found = options.spec.resolve(os.environ)
            asked = self._narrowed(found.asked.within(UTC_NAME))
            if asked is None:
                return []
            context = RunContext(found.settings, found.credentials, _Logging())
            windows = asyncio.run(divide(asked, context, slots=options.slots, windows=options.windows))
        return [WindowPartition(window) for window in windows]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a window. Raises `SourceError`, and `DoubtfulStreamError` at the end."""
        window: StreamWindow | None = partition.value
        if window is None:
            return  # Spark makes one partition of none
        with for_caller():
            found = self._options.spec.resolve(os.environ)
        settings = self._options.share_of(found.settings)
        stream = window_stream(window, settings, found.credentials, _Logging(), around=for_caller)
        with BatchIterator(stream) as batches:
            try:
                yield from batches
            except DoubtfulStreamError:
                doubts = "; ".join(batches.report.doubts() if batches.report else ())
                raise DoubtfulStreamError(
                    f"{doubts}, {_words(window)}. A DataFrame has no place for a doubt: exporter export keeps what "
                    "it is about, and names it in the manifest"
                ) from None

    def _narrowed(self, asked: Selection) -> Selection | None:
        return asked


class PushdownReader(WindowReader):
    """Reads only what can match the filters that Spark pushes down. Spark applies all of them itself as well.

    It is a class of its own, because Spark refuses one that takes filters while its configuration pushes none down.
    """

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(options)
        self._filters: list[Filter] = []

    def pushFilters(self, filters: "list[Filter]") -> "Iterable[Filter]":  # noqa: N802 - Spark calls it so
        """Takes the filters, and returns all of them: Spark has to apply them as well."""
        self._filters = filters
        return filters

    def _narrowed(self, asked: Selection) -> Selection | None:
        end = END_OF_TIME if asked.until is None else asked.until
        range_ = narrowed(Interval(BEGINNING if asked.since is None else asked.since, end), self._filters)
        return None if range_ is None else msgspec.structs.replace(asked, since=range_.since, until=range_.end)


class _Logging(Quiet):
    """Hands warnings to `logging`, which leads to the log of the process that Spark has started."""

    def warn(self, event: str, /, **details: object) -> None:
        _LOG.warning("%s", " ".join([event, *(f"{name}={value}" for name, value in details.items())]))


def _words(window: StreamWindow) -> str:
    period = window.window
    start = "the beginning" if period.open_below else format_instant(period.start)
    return f"between {start} and {format_instant(period.end)}"
