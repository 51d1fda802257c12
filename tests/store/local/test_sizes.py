"""The sizes of many files are those that each one has by itself, whatever stands for it and however it is named."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.errors import StoreError
from exporter.store.disk import file_size
from exporter.store.local.sizes import sizes_of
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


def test_many(root: Path) -> None:
    paths = ["part", "dir/link", "gone", "dir", "a..b", ".hidden", "dir/pipe"]
    assert sizes_of(root, paths) == {"part": 5, "dir/link": 5, "a..b": 2, ".hidden": 1}
    with pytest.raises(StoreError, match="not a path inside"):
        sizes_of(root, ["part", "../part"])
