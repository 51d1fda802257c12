"""Tests `--file-mode`: what is stored, and what every command adds, can be read as asked, and never by more."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE, S_ISDIR
from typing import Any

import pytest

from exporter import ExportSpec
from exporter.contract import DAY, parse_timestamp
from exporter.errors import UsageError
from exporter.sandbox import Row, make_conversations
from tests.end_to_end.conftest import NOBODY, Command, Serving
from tests.end_to_end.export_directory import ExportDirectory, check_private, snapshot
from tests.end_to_end.records import records
from tests.jobs.damage import flip
from tests.toolkit.every_command import commands_at
from tests.toolkit.sizes import some_of

START = parse_timestamp("2026-01-10")
#: A group that no directory of this machine has, and that the superuser alone may give to files.
OTHERS = 54_321 if os.getuid() == 0 else os.getgid()


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(60, START, START + DAY, seed=6)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Returns a directory that its owner has given to a group."""
    root = tmp_path / "shared"
    root.mkdir(mode=0o755)
    os.chown(root, -1, OTHERS)
    return root


@pytest.fixture(autouse=True)
def generous() -> Iterator[None]:
    """Creates files as widely as a program may that is not the command itself."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def check_group(root: Path, group: int = OTHERS) -> None:
    """Checks that the group can read everything at `root`, and nobody else anything."""
    for path in [root, *root.rglob("*")]:
        found = path.lstat()
        wanted = 0o2750 if path.is_dir() else 0o640
        assert (oct(S_IMODE(found.st_mode)), found.st_gid) == (oct(wanted), group), path


@pytest.mark.parametrize("table_format", some_of([None, "delta", "iceberg"], None, "delta"))
def test_every_command_keeps_the_mode_and_the_group(
    table_format: str | None, rows: list[Row], serving: Serving, command: Command, shared: Path, tmp_path: Path
) -> None:
    server = serving(rows)
    asked = ["--file-mode", "group", "--tables", "conversations,turns"]
    asked += ["--table-format", table_format] if table_format else []
    first, *others = [one for one in commands_at(shared, tmp_path / "demo") if one[0] != "demo"]
    for wanted in ([*first, *asked], *others):
        done = command(*wanted, server=server)
        assert done.status == 0, (wanted, done.err)
        check_group(shared)
    server.update(str(rows[0].facts()["id"]), server.rows[0].updated_at + DAY, status="failed")
    part = next(path for path in shared.glob("conversations/**/*.parquet"))
    flip(shared, part.relative_to(shared).as_posix())
    steps: list[tuple[list[str | Path], int]] = [
        (["verify", shared, "--repair"], 1),
        (["export", shared], 0),
        (["sync", shared, *([] if table_format else ["--keep-generations", "2"])], 0),
        (["reread", shared, "--since", "2026-01-10"], 0),
        (["compact", shared], 0),
        (["vacuum", shared, "--older-than", "0s"], 0),
    ]
    for arguments, status in steps:
        done = command(*arguments, server=server)
        assert done.status == status, (arguments, done.err)
        check_group(shared)
    assert ExportDirectory(shared).records().keys() == records(rows).keys()


def test_the_mode_of_an_export_can_change(rows: list[Row], serving: Serving, command: Command, shared: Path) -> None:
    server = serving(rows)
    assert command("export", shared, server=server).status == 0
    private = list(shared.rglob("*"))
    assert all(S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600) for path in private)
    assert command("export", shared, "--file-mode", "group", server=server).status == 0
    check_group(shared)
    before = snapshot(shared)
    done = command("export", shared, "--file-mode", "group", server=server)
    assert (done.status, "nothing to do" in done.out) == (0, True)
    assert snapshot(shared) == before
    # Somebody has copied a file back.
    part = next(shared.glob("conversations/**/*.parquet"))
    part.chmod(0o600)
    assert command("sync", shared, server=server).status == 0
    assert S_IMODE(part.stat().st_mode) == 0o600
    assert command("export", shared, "--file-mode", "group", server=server).status == 0
    check_group(shared)
    assert command("sync", shared, "--file-mode", "private", server=server).status == 0
    check_private(shared)
    assert command("sync", shared, server=server).status == 0
    ExportDirectory(shared).check(records(rows))


def test_a_status_says_the_mode(rows: list[Row], serving: Serving, command: Command, shared: Path) -> None:
    server = serving(rows)
    assert command("export", shared, server=server).status == 0
    assert "the group of the directory" not in command("status", shared).err + command("status", shared).out
    assert command("export", shared, "--file-mode", "group", server=server).status == 0
    shown = command("status", shared)
    assert "  readable  by the group of the directory (--file-mode group)" in shown.out
    assert '"file_mode": "group"' in command("status", shared, "--json").out


@contextmanager
def as_nobody(*groups: int) -> Iterator[None]:
    """Runs as a user who is in these groups only, if root runs the tests."""
    if os.getuid() != 0:
        yield
        return
    before = os.getgroups()
    os.setgroups(groups)
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(before)


def let_everybody_enter(root: Path) -> None:
    for directory in root.parents:
        if directory.name.startswith("pytest-of-") or "pytest-of-" in str(directory.parent):
            directory.chmod(0o755)


def test_a_member_of_the_group_can_read_and_check_it(
    rows: list[Row], serving: Serving, command: Command, shared: Path
) -> None:
    assert command("export", shared, "--file-mode", "group", server=serving(rows)).status == 0
    let_everybody_enter(shared)
    for name in ("status", "verify"):
        assert command(name, shared).status == 0  # now everything is loaded that another user could not load
        with as_nobody(OTHERS):
            done = command(name, shared)
            assert done.status == 0, done
        if os.getuid() == 0:
            with as_nobody():
                refused = command(name, shared)
            assert (refused.status, "permission denied" in refused.err) == (1, True), refused


@pytest.mark.parametrize("table_format", [None, "delta", "iceberg"])
def test_no_file_can_be_read_by_more_for_an_instant(
    table_format: str | None, rows: list[Row], serving: Serving, command: Command, shared: Path
) -> None:
    directories, files = Counter[Path](), Counter[Path]()
    is_watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not is_watching or event not in ("os.link", "os.rename", "os.chmod", "os.remove", "os.mkdir"):
            return
        for path in (shared, *shared.rglob("*")):
            found = path.lstat()
            (directories if S_ISDIR(found.st_mode) else files)[path] |= S_IMODE(found.st_mode)
        if event in ("os.link", "os.rename") and str(arguments[0]).endswith(".partial"):
            published.append(oct(S_IMODE(os.lstat(arguments[0]).st_mode)))

    published: list[str] = []
    # As the command does, because libraries that write tables know no modes.
    os.umask(0o077)
    shared.chmod(0o700)
    sys.addaudithook(watch)
    try:
        options = ["--table-format", table_format] if table_format else []
        assert command("export", shared, "--file-mode", "group", *options, server=serving(rows)).status == 0
    finally:
        is_watching = False
    # Whatever is staged has its final mode before it has its final name; only the commits before the log says so, and
    # what libraries write, are narrower for a while.
    assert set(published) == {"0o640"}
    assert len(files) > 10
    assert {mode & ~0o2750 for mode in directories.values()} == {mode & ~0o640 for mode in files.values()} == {0}


@pytest.mark.parametrize("name", ["export", "sync"])
@pytest.mark.parametrize("mode", ["group", "private"])
def test_an_object_store_is_refused(name: str, mode: str, command: Command) -> None:
    done = command(name, "s3://bucket/calls", "--file-mode", mode)
    assert done.status == 2
    assert done.err.startswith(f"exporter: --file-mode {mode}: s3://bucket/calls is in an object store, where files")


def test_python_takes_the_mode(shared: Path) -> None:
    assert ExportSpec(destination=shared, file_mode="group").file_mode == "group"
    with pytest.raises(UsageError, match="file_mode: must be private or group, not 'everyone'"):
        ExportSpec(destination=shared, file_mode="everyone")  # type: ignore[arg-type]


def test_who_is_not_in_the_group_is_told(rows: list[Row], serving: Serving, command: Command, shared: Path) -> None:
    server = serving(rows)
    if os.getuid() == 0:
        os.chown(shared, NOBODY, OTHERS)
        let_everybody_enter(shared)
        with as_nobody():
            done = command("export", shared, "--file-mode", "group", server=server)
        assert done.status == 2
        assert f"{shared}: cannot get the mode that --file-mode group asks for. This user must own it" in done.err
        assert not list(shared.glob("_exporter/commits/*"))
    with as_nobody(OTHERS):
        assert command("export", shared, "--file-mode", "group", server=server).status == 0
    check_group(shared)


@pytest.mark.parametrize("mode", ["private", "group"])
def test_what_is_made_above_a_destination_lets_its_group_pass(
    mode: str, rows: list[Row], serving: Serving, command: Command, shared: Path
) -> None:
    shared.chmod(0o2755)
    target, server = shared / "above/of/calls", serving(rows)
    os.umask(0o077)  # as the command does
    assert command("export", target, "--file-mode", mode, server=server).status == 0
    for directory in target.parents[:2]:
        assert oct(S_IMODE(directory.stat().st_mode) & 0o777) == "0o710"
    assert oct(S_IMODE(target.stat().st_mode) & 0o777) == ("0o750" if mode == "group" else "0o700")
    assert command("export", target, "--file-mode", "group", server=server).status == 0
    check_group(target)
    let_everybody_enter(shared)
    assert command("status", target).status == 0  # now everything is loaded that another user could not load
    with as_nobody(OTHERS):
        assert command("status", target).status == 0
