"""A reader that fails says nothing about the bytes: what cannot be read here and now is never called damaged."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest

from exporter.cli.upkeep_report import describe_verified
from exporter.jobs.compact import compact
from exporter.jobs.verify import VerifyResult, verify
from exporter.parts import integrity
from exporter.progress import Quiet
from exporter.store import disk
from tests.end_to_end.export_directory import snapshot
from tests.jobs.damage import failing, flip, no_page, no_parquet, parts, quarantine
from tests.jobs.made import NOW


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Notes pauses, and waits for none."""
    slept = list[float]()
    monkeypatch.setattr("exporter.store.disk.time.sleep", slept.append)
    return slept


def check(root: Path, **options: Any) -> VerifyResult:
    return anyio.run(partial(verify, root, now=NOW, **options))


def data_of(root: Path) -> dict[str, Any]:
    """Returns what lies there, except the lock and the journal, which a repair always writes to."""
    return {
        name: kept for name, kept in snapshot(root).items() if name not in ("_exporter/lock", "_exporter/runs.jsonl")
    }


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN])
@pytest.mark.parametrize("repair", [False, True])
def test_reads_that_fail_for_a_moment_are_done_again(
    number: int, repair: bool, complete: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setattr(disk, "read_once", failing(number, 3, lambda name: name.endswith(".parquet")))
    before = data_of(complete)
    verified = check(complete, repair=repair)
    assert (verified.problems, verified.exit_status, len(pauses)) == ((), 0, 3)
    assert data_of(complete) == before


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOMEM, errno.EMFILE, errno.ENODEV, errno.EBADMSG])
@pytest.mark.parametrize("repair", [False, True])
def test_a_file_whose_bytes_cannot_be_had_is_left_alone(
    number: int, repair: bool, complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = parts(complete)
    monkeypatch.setattr(disk, "read_once", failing(number, 10**9, lambda name: name.endswith(first)))
    # Any other damage waits as well, because the reader may be what is wrong.
    flip(complete, others[0])
    before = data_of(complete)
    verified = check(complete, repair=repair)
    found = [(problem.file, problem.what, problem.mended) for problem in verified.problems]
    assert sorted(found) == sorted([(first, "unreadable", False), (others[0], "sha256", False)])
    assert (verified.exit_status, verified.drops) == (6, ())
    assert data_of(complete) == before
    said = "\n".join(describe_verified(verified, complete))
    assert f"{first}: cannot be read here and now: " in said
    assert "Nothing was changed" in said
    assert "--repair" not in said


ARROW = {
    "no Parquet": pa.ArrowInvalid("Parquet magic bytes not found in footer"),
    "a decompressor that is missing": pa.ArrowNotImplementedError("Support for codec 'zstd' not built"),
    "no memory": pa.ArrowMemoryError("malloc of size 64 failed"),
    "no memory in Python": MemoryError(),
    "an error without a number": OSError("Couldn't deserialize thrift"),
    "a key": pa.ArrowKeyError("id"),
    "threads": pa.ArrowException("cannot start a thread"),
}


@pytest.mark.parametrize("name", ARROW)
@pytest.mark.parametrize("when", [pytest.param("", id="opening"), pytest.param(".iter_batches", id="reading")])
@pytest.mark.parametrize("repair", [False, True])
def test_arrow_that_fails_is_not_believed(
    name: str, when: str, repair: bool, complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ARROW[name]

    monkeypatch.setattr(f"pyarrow.parquet.ParquetFile{when}", fail)
    before = data_of(complete)
    verified = check(complete, repair=repair)
    # Each may take a while to fail, so that not all are tried.
    assert len(verified.problems) == min(20, verified.files)
    assert {problem.what for problem in verified.problems} == {"unreadable"}
    assert (verified.exit_status, verified.dropped, verified.sound) == (1, 0, False)
    assert data_of(complete) == before


@pytest.mark.parametrize("spoil", [no_parquet, no_page])
def test_what_is_no_parquet_though_its_bytes_are_right_is_no_damage(
    spoil: Callable[[Path, str], None], complete: Path
) -> None:
    spoil(complete, path := parts(complete)[0])
    before = data_of(complete)
    for repair in (False, True):
        verified = check(complete, repair=repair)
        assert [(problem.file, problem.what) for problem in verified.problems] == [(path, "unreadable")]
        assert verified.exit_status == 1
    assert data_of(complete) == before


def test_a_reading_that_comes_short_once_is_not_believed(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that loses its server for a moment may give no error, and fewer bytes or other ones."""
    seen = set[str]()
    real = integrity.hash_file

    def hash_file(path: Path) -> str | None:
        first = path.name not in seen
        seen.add(path.name)
        return "0" * 64 if first else real(path)

    monkeypatch.setattr(integrity, "hash_file", hash_file)
    verified = check(complete, repair=True)
    assert (verified.problems, verified.dropped) == ((), 0)


def test_readings_that_differ_are_no_damage(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: Iterator[int] = iter(range(10**9))
    monkeypatch.setattr(integrity, "hash_file", lambda _: f"{next(numbers):064x}")
    verified = check(complete, repair=True)
    assert {problem.what for problem in verified.problems} == {"unreadable"}
    assert (verified.exit_status, verified.dropped) == (1, 0)


def test_quarantine_that_cannot_be_read_is_left_alone(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = quarantine(odd)[0]
    monkeypatch.setattr(disk, "read_once", failing(errno.EIO, 10**9, lambda name: name.endswith(path)))
    before = data_of(odd)
    verified = check(odd, repair=True)
    assert [(problem.file, problem.what) for problem in verified.problems] == [(path, "unreadable")]
    assert verified.exit_status == 1
    assert data_of(odd) == before


@contextmanager
def inside(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


NAMES = ("prod:calls", "s3:/out", "file:x", "a%20b", "a#b?c=d", "hdfs:a:b", "http:", os.fsdecode(b"\xff\xfe"), "*")


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_directory_is_called_its_parts_are_read_from_there(
    name: str, exports: dict[str, Path], tmp_path: Path
) -> None:
    with inside(tmp_path):
        shutil.copytree(exports["complete"], root := Path(name))
        before = data_of(root)
        for repair in (False, True):
            verified = check(root, repair=repair)
            assert (verified.problems, verified.exit_status) == ((), 0)
        assert data_of(root) == before
        anyio.run(partial(compact, root, target_bytes=10**9, memory_bytes=1 << 29, observer=Quiet()))
        assert check(root).exit_status == 0
