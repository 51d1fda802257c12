"""What a user gets to keep is whole or not there, private, and never in place of something else."""

import os
import stat
from pathlib import Path

import pytest

from exporter.errors import StoreError, UsageError
from exporter.jobs.table_output import new_directory, new_file, parse_output
from exporter.store.location import Url


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_whole_and_private_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with new_file(path) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RuntimeError), new_file(tmp_path / "other") as file:
        file.write(b"some of it")
        raise RuntimeError
    with pytest.raises(UsageError, match="is there already, and is never overwritten"), new_file(path) as file:
        file.write(b"something else")
    assert path.read_bytes() == b"all of it"
    with pytest.raises(StoreError, match="full: the disk is full"), new_file(tmp_path / "full") as file:
        raise OSError(28, os.strerror(28))
    assert names(tmp_path) == [path.name]


def test_a_directory_is_whole_and_private_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "csv"
    with new_directory(path) as directory:
        with new_file(directory / "one") as file:
            file.write(b"1")
        assert not path.exists()
    assert (path / "one").read_bytes() == b"1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with pytest.raises(RuntimeError), new_directory(tmp_path / "other") as directory:
        (directory / "one").touch()
        raise RuntimeError
    (tmp_path / "empty").mkdir()
    for taken in (path, tmp_path / "empty"):
        with pytest.raises(UsageError, match="is there already"), new_directory(taken) as directory:
            (directory / "two").touch()
    assert names(tmp_path) == ["csv", "empty"]
    assert names(path) == ["one"]


def test_places_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calls").mkdir()
    (tmp_path / "link").symlink_to("calls")
    (tmp_path / "dangling").symlink_to("nowhere")
    for text, complaint in (
        ("", "must be a path"),
        ("a\0b", "must be a path"),
        ("s3://bucket/calls.csv", "on this machine"),
        ("calls", "lies in the export"),
        ("calls/conversations/x.csv", "lies in the export"),
        ("link/x.csv", "lies in the export"),
        ("../" + tmp_path.name + "/calls/x", "lies in the export"),
        ("dangling", "is there already"),
        ("nowhere/x.csv", "there is no directory nowhere"),
        ("dangling/x.csv", "there is no directory dangling"),
    ):
        with pytest.raises(UsageError, match=complaint):
            parse_output(text, Path("calls"))
    assert parse_output("calls.csv", Path("calls")) == Path("calls.csv")
    assert parse_output("calls/x.csv", Url("s3", "calls")) == Path("calls/x.csv")
