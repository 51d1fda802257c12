"""Measures the cost of an export beside other tools that read the same conversations, and beside DuckDB.

DuckDB has the pages on the local disk and converts them to zstd Parquet with two threads, without network or paging:
to types that it infers, which is other work than the exporter's; and to the exporter's own columns, which are compared
with what the exporter writes before anything is measured. The others read the pages from the stand-in server, whose
rows are rendered beforehand. All take turns, each as a process. With transcripts, the exporter and DuckDB take part
once more: they also write the table `turns`.
"""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import msgspec

from benchmarks.exports import environment, export_command
from benchmarks.measurement import Cost, ratios, run, spread
from benchmarks.rows import SINCE, UNTIL
from benchmarks.server import serving
from benchmarks.size import Size
from exporter.contract import CONVERSATIONS_PATH
from exporter.layout import CONVERSATIONS, TURNS
from exporter.sandbox import TOKEN, make_conversations

_PROGRAMS: Final = Path(__file__).parent / "contenders"
_COUNT: Final = "import sys, pyarrow.dataset as d; print(d.dataset(sys.argv[1], format='parquet').count_rows())"
OURS: Final = "exporter"
WITH_TURNS: Final = "with turns"
#: DuckDB with types that it infers, with our columns, and with our columns of both tables.
INFERRED: Final = "DuckDB"
GIVEN: Final = "DuckDB, columns given"
BOTH_TABLES: Final = "DuckDB, both tables"
#: The library that each contender needs.
_LIBRARIES: Final = {
    INFERRED: "duckdb",
    GIVEN: "duckdb",
    BOTH_TABLES: "duckdb",
    "script": "requests",
    "dlt": "dlt",
}


class Case(msgspec.Struct, frozen=True):
    """Holds the costs of each contender, by round, except of those that could not take part."""

    rows: int
    transcripts: bool
    json_bytes: int
    costs: dict[str, list[Cost]]

    def ratios(self, contender: str, other: str, what: str) -> list[float]:
        """Returns `what` of `contender` ÷ that of `other`, by round; nothing if one of them did not take part."""
        ours, theirs = ([getattr(cost, what) for cost in self.costs.get(name, ())] for name in (contender, other))
        return ratios(ours, theirs) if ours and theirs else []


class Result(msgspec.Struct, frozen=True):
    cases: list[Case]


class _Contender(msgspec.Struct, frozen=True):
    """Describes a program to measure. `command` makes it write to a new directory or file, with the rows at `table`."""

    name: str
    command: Callable[[Path], Sequence[str | Path]]
    table: str = ""


def measure(size: Size, work: Path) -> Result:
    return Result([_measure(size, work, transcripts) for transcripts in (True, False)])


def _measure(size: Size, work: Path, transcripts: bool) -> Case:
    rows = partial(make_conversations, size.cost_rows, SINCE, UNTIL, transcripts=transcripts)
    pages = work / "pages"
    pages.mkdir()
    with serving(rows, warm=True) as server:
        json_bytes = save_pages(server.url, pages)
        contenders = _contenders(server.url, pages, transcripts)
        _check_equal(contenders, environment(server.url), work)
        costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
        for turn in range(size.rounds):
            # The order changes from round to round.
            for contender in contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]:
                target = work / "target"
                cost = run(contender.command(target), environment(server.url))
                _check_rows(contender, target, size.cost_rows)
                costs[contender.name].append(cost)
                _remove(target)
    _remove(pages)
    return Case(size.cost_rows, transcripts, json_bytes, costs)


def _contenders(url: str, pages: Path, transcripts: bool) -> list[_Contender]:
    python = sys.executable
    both, typed = ("--tables", "conversations,turns"), _PROGRAMS / "duckdb_typed.py"
    all_of_them = [
        _Contender(OURS, export_command, CONVERSATIONS),
        _Contender(WITH_TURNS, lambda target: export_command(target, *both), CONVERSATIONS),
        _Contender(INFERRED, lambda target: [python, _PROGRAMS / "duckdb_copy.py", pages, target]),
        _Contender(GIVEN, lambda target: [python, typed, pages, target], CONVERSATIONS),
        _Contender(BOTH_TABLES, lambda target: [python, typed, pages, target, TURNS], CONVERSATIONS),
        _Contender("script", lambda target: [python, _PROGRAMS / "script.py", url, TOKEN, target]),
        _Contender(
            "dlt",
            lambda target: [python, _PROGRAMS / "dlt_pipeline.py", url, TOKEN, target],
            "table/calls/conversations",
        ),
    ]
    absent = {*missing(), *(() if transcripts else (WITH_TURNS, BOTH_TABLES))}
    return [contender for contender in all_of_them if contender.name not in absent]


def missing() -> list[str]:
    """Returns the contenders that cannot take part because a library is missing."""
    return [name for name, library in _LIBRARIES.items() if find_spec(library) is None]


def save_pages(url: str, directory: Path) -> int:
    """Saves each page as it came, from new to old. Returns the number of bytes."""
    cursor, number, size_bytes = "", 0, 0
    while True:
        request = Request(f"{url}{CONVERSATIONS_PATH}?limit=1000{cursor}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urlopen(request) as answer:
            body = answer.read()
        rows = json.loads(body)
        if not rows:
            return size_bytes
        (directory / f"{number:05d}.json").write_bytes(body)
        number, size_bytes = number + 1, size_bytes + len(body)
        cursor = "&cursor=" + base64.b64encode(rows[-1]["created_at"].encode()).decode()


def _check_equal(contenders: Sequence[_Contender], variables: Mapping[str, str], work: Path) -> None:
    """Raises `RuntimeError` if DuckDB, given our columns, makes other rows of the pages than the exporter does."""
    by_name = {contender.name: contender for contender in contenders}
    for ours, theirs, tables in ((OURS, GIVEN, [CONVERSATIONS]), (WITH_TURNS, BOTH_TABLES, [CONVERSATIONS, TURNS])):
        if ours in by_name and theirs in by_name:
            targets = work / "ours", work / "theirs"
            for name, target in zip((ours, theirs), targets, strict=True):
                run(by_name[name].command(target), variables)
            run([sys.executable, _PROGRAMS / "duckdb_equal.py", *targets, *tables])
            for target in targets:
                _remove(target)


def _check_rows(contender: _Contender, target: Path, rows: int) -> None:
    """Raises `RuntimeError` if a contender has not written all rows."""
    # This runs in a process of its own, so that the process that measures stays small.
    done = subprocess.run([sys.executable, "-c", _COUNT, target / contender.table], capture_output=True, text=True)
    if done.returncode or int(done.stdout) != rows:
        raise RuntimeError(f"{contender.name} wrote {done.stdout.strip() or 'nothing'} of {rows} rows: {done.stderr}")


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()


def describe(result: Result) -> list[str]:
    lines = []
    for case in result.cases:
        kind = "with" if case.transcripts else "without"
        lines += [f"{case.rows:,} conversations {kind} transcripts, {case.json_bytes / 1e6:,.0f} MB of JSON"]
        lines += [f"{'':24}{'CPU s':>24}{'wall s':>24}{'peak MB':>24}{'CPU ÷ given':>24}{'wall ÷ given':>24}"]
        for name, costs in case.costs.items():
            cells = [
                spread([cost.cpu_seconds for cost in costs]),
                spread([cost.wall_seconds for cost in costs]),
                spread([cost.peak_bytes / 1e6 for cost in costs], 0),
                *(
                    spread(found) if (found := case.ratios(name, GIVEN, what)) else ""
                    for what in ("cpu_seconds", "wall_seconds")
                ),
            ]
            lines += [f"{name:24}" + "".join(f"{cell:>24}" for cell in cells)]
    lines += [f"{name} did not take part: {_LIBRARIES[name]} is not installed" for name in missing()]
    return lines
