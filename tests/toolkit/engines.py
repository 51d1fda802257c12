"""Runs DuckDB with its extensions, ClickHouse and Polars, each in a process of its own, and asks them.

The extensions are built for a DuckDB that is older than the one of other tests, so they have an environment beside this
one. ClickHouse is a library of 400 MB with threads of its own.

Polars has a thread that reads the environment several times a second once it has read from a cloud, for as long as the
process runs. pytest and the tests write to the environment, and glibc may then move it from under that thread.
"""

import atexit
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa

_DUCKDB = "1.5.5"
#: In the order in which they must be loaded.
_EXTENSIONS = ("httpfs", "aws", "azure", "parquet", "avro", "iceberg", "delta")
#: Answers each line of its input, a query and the name of a file for the answer, with a line: an error, or null.
_LOOP = """
import io, json, os, sys

def stream(rows):
    import pyarrow as pa

    file = io.BytesIO()
    with pa.ipc.new_stream(file, rows.schema) as to:
        to.write_table(rows)
    return file.getvalue()

# A library that writes to standard output must not be mistaken for an answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

{prepare}

for line in sys.stdin:
    query, to = json.loads(line)
    error = None
    try:
        with open(to, "wb") as file:
            file.write(answer(query))
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps(error), file=answers)
"""
_BY_DUCKDB = """
import duckdb

database = duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False})
for path in sys.argv[1:]:
    database.execute(f"LOAD '{path}'")
database.execute("SET TimeZone = 'UTC'")

def answer(query):
    return stream(database.execute(query).to_arrow_table())
"""
_BY_CLICKHOUSE = """
import chdb

def answer(query):
    return chdb.query(query, "ArrowStream").bytes()
"""
_BY_POLARS = """
import base64

import polars as pl

def answer(query):
    return stream(pl.LazyFrame.deserialize(io.BytesIO(base64.b64decode(query))).collect().to_arrow())
"""
#: Names in the environment begin so if they lead a library to a cloud.
_OF_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")
#: An error holds this many characters of a query, because a frame has thousands.
_SHOWN = 200


class QueryError(Exception):
    """Reports what an engine says of a query that it cannot answer."""


@dataclass(frozen=True)
class Engine:
    """Answers queries by a process that runs until the end of its input; one query at a time."""

    process: subprocess.Popen[str]
    to: Path

    def ask(self, query: str) -> pa.Table:
        """Returns the rows of the answer. Raises `QueryError`, which names the signal if one has ended the process."""
        asked, answers = _pipes(self.process)
        # What has ended says so by its status.
        with suppress(BrokenPipeError):
            print(json.dumps([query, str(self.to)]), file=asked, flush=True)
        line = answers.readline()
        if error := json.loads(line) if line else self._end():
            raise QueryError(f"{query[:_SHOWN]}: {error}")
        data = self.to.read_bytes()
        # ClickHouse answers nothing at all to a statement that is no query.
        return pa.ipc.open_stream(data).read_all() if data else pa.table({})

    def _end(self) -> str:
        status = self.process.wait(timeout=20)
        return f"the process has ended by {signal.Signals(-status).name if status < 0 else f'status {status}'}"


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


@contextmanager
def duckdb_engine(directory: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Engine]:
    """Yields DuckDB with the extensions loaded. The first call installs it, beside this environment of Python."""
    wanted = [f"duckdb=={_DUCKDB}", *(f"duckdb-extension-{name}=={_DUCKDB}" for name in _EXTENSIONS)]
    packages = install_beside(f"duckdb-{_DUCKDB}", *wanted)
    found = [next(packages.glob(f"duckdb_extension_{one}/extensions/*/{one}.duckdb_extension")) for one in _EXTENSIONS]
    variables = {"PYTHONPATH": str(packages), **(environment or {})}
    with _running(_BY_DUCKDB, [str(path) for path in found], variables, directory) as engine:
        yield engine


@contextmanager
def clickhouse_engine(directory: Path | None = None) -> Iterator[Engine]:
    with _running(_BY_CLICKHOUSE, [], {}, directory) as engine:
        yield engine


def collected(frame: pl.LazyFrame) -> pa.Table:
    """Returns the rows of a frame, which Polars collects in a process that stays for the next one.

    The frame must say how to reach its cloud: that process knows nothing of it. Raises `QueryError`.
    """
    engine = polars_engine()
    try:
        return engine.ask(base64.b64encode(frame.serialize()).decode())
    finally:
        if engine.process.poll() is not None:
            polars_engine.cache_clear()


@cache
def polars_engine() -> Engine:
    stack = ExitStack()
    atexit.register(stack.close)
    # Otherwise Polars warns that another package would plan a scan of Iceberg faster.
    planner = {"POLARS_ICEBERG_PLANNER": "pyiceberg"}
    return stack.enter_context(_running(_BY_POLARS, [], planner, None, without=_OF_CLOUDS))


@contextmanager
def _running(
    prepare: str,
    arguments: list[str],
    variables: Mapping[str, str],
    directory: Path | None,
    without: tuple[str, ...] = (),
) -> Iterator[Engine]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    with tempfile.TemporaryDirectory() as temporary:
        process = subprocess.Popen(
            [sys.executable, "-c", _LOOP.replace("{prepare}", prepare), *arguments],
            cwd=directory or temporary,
            env={**inherited, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Engine(process, Path(temporary) / "rows.arrow")
        finally:
            asked, answers = _pipes(process)
            # One that has ended has not read all.
            with suppress(BrokenPipeError):
                asked.close()
            answers.close()
            process.wait(timeout=20)


def install_beside(name: str, *wanted: str) -> Path:
    """Returns a directory of packages beside this environment of Python, which the first call makes."""
    there = Path(sys.prefix) / name
    if not there.exists():
        with tempfile.TemporaryDirectory(dir=sys.prefix) as directory:
            command = [sys.executable, "-m", "pip", "install", "-q", "--target", directory, *wanted]
            subprocess.run(command, check=True, timeout=300)
            # Another process may have been faster.
            with suppress(OSError):
                shutil.copytree(directory, f"{directory}.whole")
                Path(f"{directory}.whole").rename(there)
    return there
