"""Tests file systems without some call: an export works without it, or the command names the file system and why."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.errors import StoreError
from exporter.sandbox import Row, make_conversations
from exporter.store import disk
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import records
from tests.toolkit.every_command import WORD_OF_A_DEFECT, commands_at
from tests.toolkit.sizes import some_of

START = parse_timestamp("2026-01-10")
UNSUPPORTED = [errno.ENOSYS, errno.ENOTSUP, errno.EINVAL]

Patch = pytest.MonkeyPatch
Spoil = Callable[[Patch], None]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(30, START, START + DAY, seed=6, transcripts=False)


def refusing(number: int, when: Callable[..., bool] = lambda *_: True, real: Any = None) -> Callable[..., Any]:
    """Returns the real call, except that it fails with this number if `when` is true of its arguments."""

    def call(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            raise OSError(number, os.strerror(number), *[one for one in arguments[:1] if isinstance(one, str | Path)])
        return real(*arguments, **named)

    return call


def without(name: str, number: int, when: Callable[..., bool] = lambda *_: True, module: Any = os) -> Spoil:
    return lambda patch: patch.setattr(module, name, refusing(number, when, getattr(module, name)))


def all_of(*spoils: Spoil) -> Spoil:
    def spoil(patch: Patch) -> None:
        for each in spoils:
            each(patch)

    return spoil


def is_directory(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").is_dir()


def locks_for_writing_alone(descriptor: int, kind: int) -> bool:
    reads = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    return reads and bool(kind & fcntl.LOCK_EX)


def called(name: str) -> Spoil:
    return lambda patch: patch.setattr("platform.node", lambda: name)


def of_zeros(patch: Patch) -> None:
    patch.setattr(os, "statvfs", lambda _: os.statvfs_result((0,) * 10 + (0,)))


no_links = without("link", errno.EPERM)
no_exclusive_renames = without("_rename_to_new", errno.EINVAL, module=disk)
no_locks = without("flock", errno.ENOLCK, module=fcntl)

WORKS_WITHOUT: dict[str, Spoil] = {
    "links": without("link", errno.EXDEV),
    "locks": no_locks,
    "fsync-of-directories": without("fsync", errno.EINVAL, is_directory),
    "modes": without("fchmod", errno.EPERM),
    "locks-for-writing-alone": without("flock", errno.EBADF, locks_for_writing_alone, fcntl),
    "statvfs-of-zeros": of_zeros,
    "statvfs-ENOSYS": without("statvfs", errno.ENOSYS),
    "replace-EEXIST": without("replace", errno.EEXIST, lambda _, final: Path(final).exists()),
    "neither-links-nor-exclusive-renames": all_of(no_links, no_exclusive_renames),
    "nor-locks": all_of(no_links, no_exclusive_renames, no_locks),
    "no-host-name": called(""),
    "a-host-name-that-is-no-text": called("h\udce9"),
}


@pytest.mark.parametrize("name", some_of(WORKS_WITHOUT, "locks", "fsync-of-directories", "modes", "nor-locks"))
def test_every_command_works_without(
    name: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    server, root = serving(rows), tmp_path / "out"
    # Other processes have locks, and would take temporary files here for those of a killed one.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    WORKS_WITHOUT[name](monkeypatch)
    for arguments in commands_at(root, tmp_path / "demo"):
        done = command(*arguments, server=server)
        assert (done.status, WORD_OF_A_DEFECT in done.err) == (0, False), (arguments, done.err)
    again = command("export", root, server=server)
    assert again.status == 0, again.err
    monkeypatch.undo()
    ExportDirectory(root).check(records(rows))
    assert not list(root.rglob("*.claim"))


@pytest.mark.parametrize("name", WORKS_WITHOUT)
def test_a_repair_moves_damage_aside_without(
    name: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    server, root = serving(rows), tmp_path / "out"
    assert command("export", root, server=server).status == 0
    part = next(root.glob("conversations/**/*.parquet"))
    part.write_bytes(b"?")
    WORKS_WITHOUT[name](monkeypatch)
    done = command("verify", root, "--repair")
    assert (done.status, part.exists()) == (1, False), done.err
    (aside,) = root.glob(f"_exporter/dropped/**/{part.name}.dropped")
    assert aside.read_bytes() == b"?"
    assert command("export", root, server=server).status == 0
    monkeypatch.undo()
    ExportDirectory(root).check(records(rows))


#: The numbers with which other file systems refuse the same calls.
SIBLINGS: dict[str, Spoil] = {
    **{f"link-{errno.errorcode[n]}": without("link", n) for n in (errno.EPERM, errno.EMLINK, *UNSUPPORTED)},
    **{f"flock-{errno.errorcode[n]}": without("flock", n, module=fcntl) for n in UNSUPPORTED},
    **{f"fsync-{errno.errorcode[n]}": without("fsync", n, is_directory) for n in (errno.EBADF, *UNSUPPORTED)},
    **{f"fchmod-{errno.errorcode[n]}": without("fchmod", n) for n in UNSUPPORTED},
}


@pytest.mark.parametrize("name", SIBLINGS)
def test_an_export_works_without(
    name: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    server, root = serving(rows), tmp_path / "out"
    SIBLINGS[name](monkeypatch)
    done = command("export", root, server=server)
    assert done.status == 0, done.err
    monkeypatch.undo()
    ExportDirectory(root).check(records(rows))


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_tables_on_a_file_system_without_modes(
    kind: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    WORKS_WITHOUT["modes"](monkeypatch)
    done = command("sync", tmp_path / "out", "--table-format", kind, server=serving(rows))
    assert done.status == 0, done.err
    assert command("verify", tmp_path / "out").status == 0


CANNOT: dict[str, tuple[Spoil, str]] = {
    "rename-ENOSYS": (
        all_of(no_links, no_exclusive_renames, without("rename", errno.ENOSYS)),
        "cannot do what an export",
    ),
    "rename-EXDEV": (
        all_of(no_links, no_exclusive_renames, without("rename", errno.EXDEV)),
        "cannot do what an export",
    ),
    "open-ENOTSUP": (without("open", errno.ENOTSUP, lambda path, flags, *_: bool(flags & os.O_EXCL)), "cannot do what"),
    "open-ESTALE": (without("open", errno.ESTALE, lambda path, flags, *_: bool(flags & os.O_EXCL)), "Mount it again"),
    "mkdir-EROFS": (without("mkdir", errno.EROFS), "the file system is read-only"),
    "mkdir-ENAMETOOLONG": (without("mkdir", errno.ENAMETOOLONG), "the name is too long"),
    "mkdir-EDQUOT": (without("mkdir", errno.EDQUOT), "the disk quota is used up"),
    "link-ESTALE": (without("link", errno.ESTALE), "Mount it again"),
    "link-EINTR": (without("link", errno.EINTR), "Interrupted system call"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_a_file_system_that_cannot_hold_an_export_is_named(
    name: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    spoil, words = CANNOT[name]
    server, root = serving(rows), tmp_path / "out"
    spoil(monkeypatch)
    for arguments in commands_at(root, tmp_path / "demo"):
        done = command(*arguments, server=server)
        assert WORD_OF_A_DEFECT not in done.err, (arguments, done.err)
        if arguments[0] in ("export", "sync", "demo"):
            assert done.status in (1, 2), (arguments, done.err)
            assert words in done.err
            assert str(tmp_path) in done.err
            assert words != "cannot do what an export" or ", mounted at /" in done.err


def test_what_has_no_inodes_left_is_not_full(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    real = os.statvfs
    fields = list(real(tmp_path))
    fields[5:8] = (1000, 0, 0)  # f_files, f_ffree, f_favail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*fields, 0)))
    without("link", errno.ENOSPC)(monkeypatch)
    done = command("export", tmp_path / "out", server=serving(rows))
    assert done.status == 1
    assert "no inodes: it holds too many files. Delete some" in done.err
    assert "the disk is full" not in done.err


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_name_is_taken_once_by_a_claim(is_taken: bool, tmp_path: Path, monkeypatch: Patch) -> None:
    all_of(no_links, no_exclusive_renames)(monkeypatch)
    whole, final = tmp_path / "whole", tmp_path / "final"
    whole.write_bytes(b"new")
    if is_taken:
        final.write_bytes(b"old")
    assert disk.place(whole, final) != is_taken
    assert final.read_bytes() == (b"old" if is_taken else b"new")


def test_a_claim_that_a_killed_run_has_left_is_named(tmp_path: Path, monkeypatch: Patch) -> None:
    all_of(no_links, no_exclusive_renames)(monkeypatch)
    slept = list[float]()
    monkeypatch.setattr("exporter.store.disk.time.sleep", slept.append)
    (tmp_path / "whole").write_bytes(b"new")
    (tmp_path / "_final.claim").mkdir()
    with pytest.raises(StoreError, match=r"If none is at work, delete .*/_final\.claim$"):
        disk.place(tmp_path / "whole", tmp_path / "final")
    assert sum(slept) == pytest.approx(2)


def test_exclusive_renames_take_no_name_that_is_taken(tmp_path: Path) -> None:
    whole, final = tmp_path / "whole", tmp_path / "final"
    whole.write_bytes(b"new")
    disk._rename_to_new(whole, final)
    whole.write_bytes(b"newer")
    with pytest.raises(FileExistsError):
        disk._rename_to_new(whole, final)
    assert final.read_bytes() == b"new"
