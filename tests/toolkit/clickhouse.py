"""Runs ClickHouse's SQL: by chdb, in a process of its own, because its threads do not end with its work."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_PROGRAM = """
import json, sys, chdb.session
session = chdb.session.Session()
for line in sys.stdin:
    print(json.dumps(str(session.query(json.loads(line), "CSV"))))
"""


def run_clickhouse(statements: Sequence[str], directory: Path) -> list[str]:
    """Returns the answer to each statement, as CSV; all are run one after another."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input="".join(f"{json.dumps(statement)}\n" for statement in statements),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
