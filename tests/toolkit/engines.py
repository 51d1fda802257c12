"""Runs DuckDB with its extensions, and ClickHouse, each in a process of its own, and asks them in SQL.

The extensions are built for a DuckDB that is older than the one of other tests, so they have an environment beside this
one. ClickHouse is a library of 400 MB with threads of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

_DUCKDB = "1.5.5"
#: In the order in which they must be loaded.
_EXTENSIONS = ("httpfs", "aws", "azure", "parquet", "avro", "iceberg", "delta")
#: Answers each line of its input, a query and the name of a file for the answer, with a line: an error, or null.
_LOOP = """
import json, os, sys

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
import io

import duckdb
import pyarrow as pa

database = duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False})
for path in sys.argv[1:]:
    database.execute(f"LOAD '{path}'")
database.execute("SET TimeZone = 'UTC'")

def answer(query):
    rows, file = database.execute(query).to_arrow_table(), io.BytesIO()
    with pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    return file.getvalue()
"""
_BY_CLICKHOUSE = """
import chdb

def answer(query):
    return chdb.query(query, "ArrowStream").bytes()
"""


class QueryError(Exception):
    """Reports what an engine says of a query that it cannot answer."""


@dataclass(frozen=True)
class Engine:
    """Answers queries by a process that runs until the end of its input; one query at a time."""

    process: subprocess.Popen[str]
    to: Path

    def ask(self, query: str) -> pa.Table:
        """Returns the rows of the answer. Raises `QueryError`."""
        asked, answers = _pipes(self.process)
        print(json.dumps([query, str(self.to)]), file=asked, flush=True)
        line = answers.readline()
        if error := json.loads(line or '"the process has ended"'):
            raise QueryError(f"{query}: {error}")
        data = self.to.read_bytes()
        # ClickHouse answers nothing at all to a statement that is no query.
        return pa.ipc.open_stream(data).read_all() if data else pa.table({})


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


@contextmanager
def _running(
    prepare: str, arguments: list[str], variables: Mapping[str, str], directory: Path | None
) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as temporary:
        process = subprocess.Popen(
            [sys.executable, "-c", _LOOP.replace("{prepare}", prepare), *arguments],
            cwd=directory or temporary,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Engine(process, Path(temporary) / "rows.arrow")
        finally:
            asked, answers = _pipes(process)
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
