"""Reads through Spark Connect, in a process of its own, and writes what came to a file.

python -m tests.engines.spark_connect URL FILE
"""

import sys

import pyarrow as pa
from pyspark.sql import SparkSession

import exporter.spark
from exporter.engines.spark.engine import SparkEngine, engine
from exporter.errors import EngineError, UsageError
from tests.engines.tasks import task


def main(url: str, to: str) -> None:
    spark = SparkSession.builder.remote("local[2]").getOrCreate()
    try:
        spark.dataSource.register(exporter.spark.Anyreach)
        options = {"base_url": url, "since": "2024-01-01", "until": "2024-03-01", "page_size": "50", "windows": "2"}
        rows = spark.read.format("anyreach").options(**options).load().toArrow()
        _call(spark)
        with pa.OSFile(to, "wb") as file, pa.ipc.new_file(file, rows.schema) as written:
            written.write_table(rows)
    finally:
        spark.stop()


def _call(spark: SparkSession) -> None:
    on_spark = SparkEngine(spark, 2, work="tests.engines.tasks:work")
    assert on_spark.call(task("reverse", content="ok, \x00\xff")) == b"\xff\x00 ,ko"
    try:
        on_spark.call(task("refuse", reason="no task of ours"))
    except EngineError as error:
        assert str(error) == "no task of ours"
    else:
        raise AssertionError("the refusal was not told")
    on_spark.close()
    try:
        engine(spark)
    except UsageError as error:
        assert "slots: give the number" in str(error)
    else:
        raise AssertionError("slots are not known here")


if __name__ == "__main__":
    main(*sys.argv[1:])
