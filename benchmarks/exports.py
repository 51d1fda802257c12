"""Runs exports as a user starts them, and checks what they leave behind."""

import json
import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.measurement import Cost, run
from benchmarks.rows import FEW_FIELDS, SINCE, UNTIL
from exporter.contract import BASE_URL_VARIABLE, TOKEN_VARIABLE, format_instant
from exporter.sandbox import TOKEN

#: The options of an export of few fields.
ONLY_FEW_FIELDS: Final = ("--fields", ",".join(sorted(FEW_FIELDS)))


def export_command(directory: Path, *options: str) -> list[str | Path]:
    """Returns the command that exports all that `rows` makes, with the defaults except for `options`."""
    range_ = ["--since", format_instant(SINCE), "--until", format_instant(UNTIL)]
    return [sys.executable, "-m", "exporter", "export", directory, *range_, *options]


def environment(url: str) -> dict[str, str]:
    """Returns the environment that tells an export which server to read."""
    return {**os.environ, TOKEN_VARIABLE: TOKEN, BASE_URL_VARIABLE: url}


def run_export(directory: Path, url: str, rows: int, *options: str) -> Cost:
    """Runs an export. Raises `RuntimeError` if it does not have this many rows."""
    cost = run(export_command(directory, *options), environment(url))
    check(directory, rows)
    return cost


def check(directory: Path, rows: int) -> None:
    """Raises `RuntimeError` if this is not a complete export of this many rows."""
    manifest = json.loads((directory / "_manifest.json").read_bytes())
    found = manifest["totals"]["rows"]
    if (manifest["state"], found) != ("complete", rows):
        raise RuntimeError(f"{directory}: {manifest['state']}, {found} rows of {rows}")


def windows(directory: Path) -> int:
    """Returns the number of windows in which the export was read."""
    count = json.loads((directory / "_manifest.json").read_bytes())["totals"]["windows"]
    assert isinstance(count, int)
    return count
