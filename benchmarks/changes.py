"""Measures what a sync spends on telling what it changes, where a tenth of the conversations has changed."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree
from typing import Final

import msgspec

from benchmarks.exports import environment, run_export
from benchmarks.measurement import ratios, run, spread
from benchmarks.rows import repeat_conversations
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.clock import wall_clock
from exporter.sandbox import Row

_ONE_OF: Final = 10
_TIMES: Final = ("created_at", "updated_at")


class Result(msgspec.Struct, frozen=True):
    """Holds, by round, the seconds of CPU of a sync and of its telling what has changed of `rows`; a file of changes
    has `bytes` for each of these that is `changed`."""

    rows: int
    changed: int
    bytes: float
    sync_seconds: list[float]
    telling_seconds: list[float]

    @property
    def shares(self) -> list[float]:
        """Returns the share that telling has, in percent."""
        return [100 * share for share in ratios(self.telling_seconds, self.sync_seconds)]


def with_changes(count: int) -> Sequence[Row]:
    """Returns `count` rows, some of which have changed just now."""
    rows, now = list(repeat_conversations(count, "office", transcripts=True)), wall_clock()
    for number in range(0, count, _ONE_OF):
        row = rows[number]
        fields = {name: value for name, value in row.facts().items() if name not in _TIMES}
        rows[number] = Row(row.created_at, now, {**fields, "summary": f"changed {number}"})
    return rows


def measure(size: Size, work: Path) -> Result:
    count = size.cost_rows
    made, target, figures = work / "made", work / "target", work / "figures"
    with serving(partial(repeat_conversations, count, "office", transcripts=True)) as server:
        run_export(made, server.url, count)
    found: list[dict[str, float]] = []
    with serving(partial(with_changes, count)) as server:
        for _ in range(size.rounds):
            copytree(made, target)
            command: list[str | Path] = [sys.executable, "-m", "benchmarks.changes_clocks", figures, target, server.url]
            run(command, environment(server.url))
            found.append(json.loads(figures.read_bytes()))
            rmtree(target)
    return Result(
        count,
        round(found[0]["changed"]),
        found[0]["bytes"] / found[0]["told"],
        [one["sync_seconds"] for one in found],
        [one["telling_seconds"] for one in found],
    )


def describe(result: Result) -> list[str]:
    return [
        f"a sync of {result.rows:,} conversations, {result.changed:,} of which have changed; seconds of CPU",
        f"{'sync':>12}{spread(result.sync_seconds, 2):>24}",
        f"{'telling':>12}{spread(result.telling_seconds, 4):>24}",
        f"{'bytes a row':>12}{result.bytes:>24.1f}",
    ]
