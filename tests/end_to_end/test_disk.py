"""Tests a disk that is full or breaks: the run says so in a line, every file is whole, and the next run goes on."""

import errno
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from exporter.contract import DAY, format_instant
from exporter.sandbox import Row, Sandbox, make_conversations
from tests.end_to_end.conftest import NOBODY, Command, CommandResult, Serving, Spawn, unprivileged, when_asked
from tests.end_to_end.export_directory import ExportDirectory, check_left
from tests.end_to_end.records import SINCE, records
from tests.toolkit.sizes import combinations, some_of

UNTIL = SINCE + 5 * DAY
OPTIONS = (
    *("--since", format_instant(SINCE), "--until", format_instant(UNTIL)),
    *("--page-size", "10", "--concurrency", "3", "--part-size", "1kB"),
)
HALF_WAY = 20


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(250, SINCE, UNTIL, seed=51, density="flat", transcripts=False)


def check_failed(done: CommandResult, root: Path, rows: list[Row], *words: str) -> None:
    """Checks that one line says what failed and where, and that the log knows every file, each of which is whole."""
    assert (done.status, done.out, len(done.complaint)) == (1, "", 1), done.err
    for word in (str(root), *words):
        assert word in done.err
    assert "Traceback" not in done.err
    state = check_left(root, records(rows))
    parts = {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}
    assert parts == state.files.keys()


def check_next(command: Command, server: Sandbox, root: Path, rows: list[Row]) -> None:
    server.on_request = None
    done = command("export", root, *OPTIONS, server=server)
    assert done.status == 0, done.err
    ExportDirectory(root).check(records(rows))


# Commits have up to 2 kB, parts 9 kB, and the last manifest 23 kB.
@pytest.mark.parametrize(
    ("size", "number"), some_of([(0, 1), (0, HALF_WAY), (4_000, HALF_WAY), (15_000, 1)], (0, HALF_WAY), (15_000, 1))
)
def test_files_that_may_not_grow(
    size: int, number: int, rows: list[Row], serving: Serving, spawn: Spawn, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    process: list[int] = []
    known = threading.Event()

    def limit() -> None:
        assert known.wait(60)
        resource.prlimit(process[0], resource.RLIMIT_FSIZE, (size, size))

    when_asked(server, number, limit)
    started = spawn("export", tmp_path / "out", *OPTIONS, server=server)
    process.append(started.process.pid)
    known.set()
    done = started.wait()
    check_failed(done, tmp_path / "out", rows, "too large for this file system, or for the limit of the process")
    check_next(command, server, tmp_path / "out", rows)


def failing(code: int, function: Callable[..., Any], calls: Iterator[bool]) -> Callable[..., Any]:
    """Returns `function`, except that some calls fail: those for which `calls` yields true."""

    def call(*arguments: Any) -> Any:
        if next(calls, True):
            raise OSError(code, os.strerror(code))
        return function(*arguments)

    return call


#: What fails, how, and what is said then.
BREAKS = [
    ("fsync", errno.EIO, "Input/output error. Check the disk, then run again to resume"),
    ("write", errno.EIO, "Input/output error. Check the disk, then run again to resume"),
    ("write", errno.ENOSPC, "the disk is full. Free some space, then run again to resume"),
    ("link", errno.EDQUOT, "the disk quota is used up. Free some space, then run again to resume"),
]


@pytest.mark.parametrize(("breaks", "call", "lasting"), combinations(BREAKS, [1, 5], [False, True], one_in=2))
def test_a_disk_that_breaks(
    breaks: tuple[str, int, str],
    call: int,
    lasting: bool,
    rows: list[Row],
    serving: Serving,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, code, said = breaks
    server = serving(rows)
    fails = (number == call or (lasting and number > call) for number in range(1, 100_000))
    broken = failing(code, getattr(os, name), fails)
    when_asked(server, HALF_WAY, lambda: monkeypatch.setattr(os, name, broken))
    done = command("export", tmp_path / "out", *OPTIONS, server=server)
    monkeypatch.undo()
    check_failed(done, tmp_path / "out", rows, said)
    check_next(command, server, tmp_path / "out", rows)


@pytest.fixture
def of_nobody(tmp_path: Path) -> Iterator[Path]:
    """Makes a directory of a user without privileges, whoever runs the tests."""
    root = Path(mkdtemp())
    if os.getuid() == 0:
        os.chown(root, NOBODY, NOBODY)
    yield root
    shutil.rmtree(root)


@pytest.mark.parametrize("closed", ["conversations", "_exporter/staging", "_exporter/commits"])
def test_a_directory_that_becomes_read_only(
    closed: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path, of_nobody: Path
) -> None:
    root = of_nobody / "out"
    server = serving(rows)
    # Modules that are imported late may be where only the owner of the tests can read.
    assert command("export", tmp_path / "first", *OPTIONS, server=server).status == 0
    server.on_request = lambda _: close(root / closed) if any(root.rglob("*.parquet")) else None
    with unprivileged():
        done = command("export", root, *OPTIONS, server=server)
        for directory in (root / closed, *(path for path in (root / closed).rglob("*") if path.is_dir())):
            directory.chmod(0o700)
        check_failed(done, root, rows, f"permission denied: the mode of {root / closed}")
        check_next(command, server, root, rows)


def close(directory: Path) -> None:
    for path in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
        path.chmod(0o500)
