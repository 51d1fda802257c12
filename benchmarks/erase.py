"""Measures how long it takes to find one person in a large export, and to erase them: processes, as a user starts them.

Three of the conversations, in three of the parts, are the person's; the others repeat a few thousand.
"""

import base64
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree
from typing import Final

import msgspec

from benchmarks.exports import environment, run_export
from benchmarks.measurement import Cost, run, spread
from benchmarks.rows import repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.keys import PRIVACY_VARIABLE
from exporter.sandbox import Row

#: Between others in the order of texts, so that statistics alone do not rule row groups out.
_PERSON: Final = "usr_02500_of_one_person"
_TIMES: Final = ("created_at", "updated_at")
_KEY: Final = base64.b64encode(bytes(range(32))).decode()


class Result(msgspec.Struct, frozen=True):
    """Holds the costs by round: of a start alone, of finding one person among `rows`, and of erasing them."""

    rows: int
    start: list[Cost]
    find: list[Cost]
    erase: list[Cost]

    @property
    def find_seconds(self) -> list[float]:
        """Returns the processor seconds of finding, beyond those of the start."""
        return [found.cpu_seconds - began.cpu_seconds for found, began in zip(self.find, self.start, strict=True)]

    @property
    def erase_seconds(self) -> list[float]:
        """Returns the processor seconds of an erasure, beyond those of the start."""
        return [done.cpu_seconds - began.cpu_seconds for done, began in zip(self.erase, self.start, strict=True)]


def with_a_person(count: int) -> Sequence[Row]:
    """Returns `count` rows, three of which are the person's."""
    rows = list(repeat_conversations(count, "office", transcripts=False))
    for number in range(count // 6, count, count // 3):
        row = rows[number]
        fields = {name: value for name, value in row.facts().items() if name not in _TIMES}
        rows[number] = Row(row.created_at, row.updated_at, {**fields, "user_id": _PERSON})
    return rows


def measure(size: Size, work: Path) -> Result:
    count = size.memory_points[-1][0]
    made, target, values = work / "made", work / "target", work / "values"
    values.write_text(f"{_PERSON}\n")
    with serving(partial(with_a_person, count)) as server:
        run_export(made, server.url, count)
        known = {**environment(server.url), PRIVACY_VARIABLE: _KEY}
    result = Result(count, [], [], [])
    for _ in range(size.rounds):
        copytree(made, target)
        command: list[str | Path] = [sys.executable, "-m", "exporter", "erase", target]
        by_value: list[str | Path] = ["--by", "user_id", "--values-from", values]
        result.start.append(run([sys.executable, "-m", "exporter", "status", target], known))
        result.find.append(run([*command, *by_value, "--dry-run"], known))
        result.erase.append(run([*command, *by_value], known))
        rmtree(target)
    return result


def describe(result: Result) -> list[str]:
    return [
        f"one person among {result.rows:,} conversations, in three parts; CPU seconds beyond those of a start",
        f"{'find':>12}{spread(result.find_seconds, 2):>24}",
        f"{'erase':>12}{spread(result.erase_seconds, 2):>24}",
    ]
