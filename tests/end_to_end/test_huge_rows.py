"""Tests conversations of 30 MB among small ones (source.md, 11): they are exported exactly, within the given memory."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.contract import HOUR, MINUTE
from exporter.sandbox import TOKEN, Row, Sandbox
from tests.end_to_end.conftest import CommandResult, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, conversation, records
from tests.toolkit.sizes import some_of

HUGE_BYTES = 30_000_000
MEMORY_MIB = 384
#: The process prints its own peak of memory, because the peak that its parent can read includes the parent's memory.
RUN = """
import re, sys
from exporter.cli import main
status = main()
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(status)
"""


def row(minute: int, text: str) -> Row:
    at = SINCE + minute * MINUTE
    return conversation(at, at, f"c-{minute:04d}", conversation={"items": [{"type": "message", "content": [text]}]})


def export(destination: Path, server: Sandbox, *more: str) -> CommandResult:
    range_ = ("--since", "2024-01-01", "--until", "2024-01-02")
    done = subprocess.run(
        [sys.executable, "-c", RUN, "export", str(destination), *range_, *more],
        env={**os.environ, "ANYREACH_BASE_URL": server.url, "ANYREACH_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("turns", some_of([False, True], False))
def test_huge_rows_among_small_ones(serving: Serving, tmp_path: Path, turns: bool) -> None:
    huge = {0, 700, 701, 1300}
    rows = [
        row(minute, "é" * (HUGE_BYTES // 2) if minute in huge else "hello") for minute in range(24 * HOUR // MINUTE)
    ]
    tables = ("--tables", "conversations,turns") if turns else ("--concurrency", "4")
    done = export(tmp_path / "out", serving(rows), "--memory", f"{MEMORY_MIB}MiB", *tables)
    assert done.status == 0, done.err
    exported = ExportDirectory(tmp_path / "out")
    assert exported.state == "complete"
    exported.check(records(rows))
    assert int(done.out.splitlines()[-1]) <= MEMORY_MIB * 1024


@pytest.mark.parametrize("items", some_of([30, 30_000], 30_000))
def test_a_huge_transcript_of_many_items(serving: Serving, tmp_path: Path, items: int) -> None:
    texts = ["ab" * (HUGE_BYTES // items // 2 - 40) for _ in range(items)]
    content = [{"type": "message", "role": "user", "content": [text]} for text in texts]
    rows = [row(minute, "hello") for minute in range(0, 1440, 20)]
    rows.append(conversation(SINCE + MINUTE, SINCE, "huge", conversation={"items": content}))
    # The default, 384 MiB, is also enough.
    done = export(tmp_path / "out", serving(rows), "--tables", "conversations,turns")
    assert done.status == 0, done.err
    ExportDirectory(tmp_path / "out").check(records(rows))
    assert int(done.out.splitlines()[-1]) <= MEMORY_MIB * 1024


def test_a_row_that_is_too_large_is_named_by_its_window(serving: Serving, tmp_path: Path) -> None:
    rows = [row(minute, "x" * 40_000_000 if minute == 700 else "hello") for minute in range(0, 1440, 20)]
    done = export(tmp_path / "out", serving(rows), "--memory", f"{MEMORY_MIB}MiB")
    assert done.status == 1
    assert "one conversation takes more than 36.9 MB" in done.err
    named = re.search(r"\(reading (\S+) to (\S+)\)", done.err)
    assert named is not None and named[1] <= "2024-01-01T11:40:00Z" < named[2]
