"""Reads conversations as a DataFrame of Spark, and runs the tasks of an export on Spark.

    spark.dataSource.register(exporter.spark.Anyreach)
    calls = spark.read.format("anyreach").option("since", "2026-01-01").option("until", "2026-02-01").load()

    summary = await exporter.export(spec, engine=exporter.spark.engine(spark))

The data source needs Spark 4.0 or later, and the engine 3.5 or later. Spark is loaded when the source is first named.
"""

from typing import TYPE_CHECKING, Any

from exporter.engines.spark.engine import engine as engine
from exporter.errors import UsageError
from exporter.words import install_command

if TYPE_CHECKING:
    from exporter.engines.spark.source import Anyreach as Anyreach

__all__ = ["Anyreach", "engine"]


def __getattr__(name: str) -> Any:
    if name != "Anyreach":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from exporter.engines.spark.source import Anyreach
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pyspark":
            raise
        raise UsageError(
            "the data source needs Spark 4.0 or later, and pyspark of that is not installed. To install it:\n"
            f"{install_command('pyspark>=4.0')}"
        ) from error
    globals()[name] = Anyreach
    return Anyreach


def __dir__() -> list[str]:
    return sorted(__all__)
