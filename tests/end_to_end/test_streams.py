"""Tests that a command whose output cannot be printed does its work, and says so by its exit status if it must."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import make_conversations
from tests.end_to_end.conftest import Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import records
from tests.toolkit.every_command import WORD_OF_A_DEFECT, every_command, run_each
from tests.toolkit.processes import started
from tests.toolkit.sizes import size_of

START = parse_timestamp("2026-01-10")
ROWS = make_conversations(60, START, START + DAY, seed=5, transcripts=False)
STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


def closing(*names: str) -> Callable[[], None]:
    """Returns a function that closes these descriptors in a process that is being started."""

    def close() -> None:
        for name in names:
            os.close(STREAMS[name])

    return close


@contextmanager
def left_by_its_reader() -> Iterator[Any]:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as broken:
        yield broken


@contextmanager
def full() -> Iterator[Any]:
    with Path("/dev/full").open("wb") as device:
        yield device


@pytest.mark.parametrize(
    "closed", [("stderr",), ("stdin", "stdout", "stderr"), ("stdout",)][: size_of(2, 3)], ids="-".join
)
def test_closed(closed: tuple[str, ...], serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS)
    commands = every_command(tmp_path / "out", tmp_path / "demo")
    ended = run_each(commands, server.url, tmp_path, preexec=closing(*closed))
    assert set(ended.statuses.values()) == {0}, ended
    ExportDirectory(tmp_path / "out").check(records(ROWS))
    assert WORD_OF_A_DEFECT not in ended.err
    if "stdout" not in closed:
        # It has only what was asked for, whatever happens to stderr.
        summary, *_ = ended.out.splitlines()
        assert json.loads(summary)["state"] == "complete"
        assert "paste into DuckDB" not in ended.out
    # No file of the export got the number of a stream, where it would get what libraries print.
    assert run_each([["verify", str(tmp_path / "out")]], server.url, tmp_path).statuses == {"verify": 0}


@pytest.mark.parametrize(("breaking", "status"), [(left_by_its_reader, 0), (full, 1)])
def test_full_or_left(breaking: Any, status: int, serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS)
    commands = every_command(tmp_path / "out", tmp_path / "demo")
    with breaking() as out, breaking() as err:
        ended = run_each(commands, server.url, tmp_path, stdout=out, stderr=err)
    assert set(ended.statuses.values()) == {status}, ended
    ExportDirectory(tmp_path / "out").check(records(ROWS))
    # What a command has found outweighs what could not be printed.
    (tmp_path / "out" / ExportDirectory(tmp_path / "out").files[0]["path"]).unlink()
    with breaking() as out:
        assert run_each([["verify", str(tmp_path / "out")]], server.url, tmp_path, stdout=out).statuses == {"verify": 6}


@pytest.mark.parametrize("breaking", [left_by_its_reader, full])
def test_a_disk_that_is_full_is_named_and_a_reader_who_leaves_is_not(breaking: Any, tmp_path: Path) -> None:
    with breaking() as out:
        ended = run_each([["schema"]], "http://127.0.0.1:9", tmp_path, stdout=out)
    assert ended.statuses == {"schema": 1 if breaking is full else 0}
    words = "exporter: stdout: No space left on device; the output there is incomplete\n"
    assert ended.err == (words if breaking is full else "")


def test_a_failure_keeps_its_status(tmp_path: Path) -> None:
    with left_by_its_reader() as stream:
        ended = run_each([["status", str(tmp_path / "nothing")]], "http://127.0.0.1:9", tmp_path, stderr=stream)
    assert ended.statuses == {"status": 2}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_has_no_characters_for_is_escaped(encoding: str, tmp_path: Path) -> None:
    name = os.fsdecode("é–".encode() + b"\xe9")
    ended = run_each(
        [["status", str(tmp_path / name)]], "http://127.0.0.1:9", tmp_path, environment={"PYTHONIOENCODING": encoding}
    )
    assert ended.statuses == {"status": 2}
    assert r"\udce9: no export here" in ended.err


@pytest.mark.parametrize(
    ("encoding", "dash"), [("ascii", rb"\u2013"), ("latin-1", rb"\u2013"), ("utf-8", "–".encode())]
)
def test_a_path_is_printed_as_it_was_given(encoding: str, dash: bytes) -> None:
    code = "import sys; from exporter.streams import open_streams; open_streams(); print(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, b"\xff\xfe\xe2\x80\x93\xff"],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == b"\xff\xfe" + dash + b"\xff\n"


def test_a_stream_that_does_not_wait_gets_everything(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    # This is more than a pipe holds.
    code = "from exporter.streams import open_streams; open_streams(); print('x' * 300_000)"
    with os.fdopen(read, "rb") as reader, started([sys.executable, "-c", code], stdout=write) as process:
        os.close(write)
        assert len(reader.read()) == 300_001
    assert process.returncode == 0
