"""The sizes of many files are those that each one has by itself, whatever stands for it and however it is named."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.errors import StoreError
from exporter.store.disk import file_size
from exporter.store.local.sizes import have_sizes, sizes_of
from exporter.store.location import parts_inside

NAMES = st.sampled_from(
    ["part", "dir", "link", "gone", "loop", "pipe", "..", ".", "", ".hidden", "a..b", "n\0", "\ud800"]
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sizes") / "dest"
    for directory in (root, root / "dir"):
        directory.mkdir()
        (directory / "part").write_bytes(b"12345")
        (directory / ".hidden").write_bytes(b"1")
        (directory / "a..b").write_bytes(b"12")
        (directory / "link").symlink_to(directory / "part")
        (directory / "loop").symlink_to(directory / "loop")
        os.mkfifo(directory / "pipe")
    (root.parent / "part").write_bytes(b"outside")
    return root


def one(root: Path, path: str) -> int | str | None:
    try:
        return file_size(root.joinpath(*parts_inside(root, path)))
    except StoreError as error:
        return str(error)
    except (ValueError, UnicodeError) as error:
        return type(error).__name__


def all_at_once(root: Path, path: str) -> int | str | None:
    try:
        return sizes_of(root, [path]).get(path)
    except StoreError as error:
        return str(error)
    except (ValueError, UnicodeError) as error:
        return type(error).__name__


@example(path="../part")
@example(path="./../part")
@given(path=st.lists(NAMES, max_size=4).map("/".join))
def test_each_has_the_size_that_it_has_alone(root: Path, path: str) -> None:
    assert all_at_once(root, path) == one(root, path)


@example(path="../part", size=7)
@example(path="dir/link", size=5)
@given(path=st.lists(NAMES, max_size=4).map("/".join), size=st.sampled_from([1, 2, 5, 7]))
def test_a_size_that_is_surely_so_is_so(root: Path, path: str, size: int) -> None:
    assert not have_sizes(root, [("part", 5), (path, size)]) or one(root, path) == size


def test_a_file_that_is_missing_or_longer_or_shorter_or_no_file_is_seen(root: Path) -> None:
    there = [("part", 5), ("dir/part", 5), ("dir/link", 5), (".hidden", 1)]
    assert have_sizes(root, there)
    for wrong in (("gone", 5), ("part", 4), ("part", 6), ("dir", (root / "dir").stat().st_size)):
        assert not have_sizes(root, [*there, wrong])
    assert not have_sizes(root / "gone", there)


def test_many(root: Path) -> None:
    paths = ["part", "dir/link", "gone", "dir", "a..b", ".hidden", "dir/pipe"]
    assert sizes_of(root, paths) == {"part": 5, "dir/link": 5, "a..b": 2, ".hidden": 1}
    with pytest.raises(StoreError, match="not a path inside"):
        sizes_of(root, ["part", "../part"])
