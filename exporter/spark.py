"""Reads conversations as a DataFrame of Spark, and runs the tasks of an export on Spark.

    spark.dataSource.register(exporter.spark.Anyreach)
    calls = spark.read.format("anyreach").option("since", "2026-01-01").option("until", "2026-02-01").load()

    summary = await exporter.export(spec, engine=exporter.spark.engine(spark))

The data source needs Spark 4.0 or later, and the engine 3.5.
"""

from typing import TYPE_CHECKING, Any, Final

from exporter.errors import UsageError

if TYPE_CHECKING:
    from exporter.engines.spark.source import Anyreach as Anyreach

__all__ = ["Anyreach"]
