"""Tests that the page of a report is written whole, and over nothing but an older page."""

import os
import re
from pathlib import Path
from stat import S_IMODE

import pytest

from exporter.errors import StoreError, UsageError
from exporter.report.page import FIRST
from exporter.report.place import check_place, write_page

PAGE = f"{FIRST}<title>new</title>".encode()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / "calls").mkdir()
    return tmp_path / "calls"


def test_a_new_page_is_its_owners(export: Path, tmp_path: Path) -> None:
    path = check_place(str(tmp_path / "report.html"), export)
    write_page(path, PAGE)
    assert path.read_bytes() == PAGE
    assert S_IMODE(path.stat().st_mode) == 0o600
    assert {*tmp_path.iterdir()} == {export, path}


def test_an_older_page_is_replaced_and_keeps_its_mode(export: Path, tmp_path: Path) -> None:
    older = tmp_path / "report.html"
    older.write_text(f"{FIRST}<title>old</title>")
    older.chmod(0o644)
    write_page(check_place(str(older), export), PAGE)
    assert older.read_bytes() == PAGE
    assert S_IMODE(older.stat().st_mode) == 0o644


def test_a_link_to_an_older_page_stays_a_link(export: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    older, link = tmp_path / "site" / "calls.html", tmp_path / "report.html"
    older.write_text(FIRST)
    link.symlink_to(older)
    write_page(check_place(str(link), export), PAGE)
    assert link.is_symlink()
    assert older.read_bytes() == PAGE


@pytest.mark.parametrize("content", ["", "notes", FIRST[:-1], FIRST.replace("exporter", "another")])
def test_anything_else_stays(export: Path, tmp_path: Path, content: str) -> None:
    there = tmp_path / "report.html"
    there.write_text(content)
    with pytest.raises(UsageError, match="is there already, and is no report"):
        check_place(str(there), export)
    assert there.read_text() == content


def test_what_has_come_meanwhile_stays(export: Path, tmp_path: Path) -> None:
    path = check_place(str(tmp_path / "report.html"), export)
    path.write_text("notes")
    with pytest.raises(UsageError, match="is there already, and is no report"):
        write_page(path, PAGE)
    assert path.read_text() == "notes"
    assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "is there already"),
        (lambda path: path.symlink_to("nowhere"), "is there already"),
        (lambda path: os.mkfifo(path), "is there already"),
    ],
)
def test_what_is_no_file_stays(export: Path, tmp_path: Path, make: object, reason: str) -> None:
    path = tmp_path / "report.html"
    make(path)  # type: ignore[operator]
    with pytest.raises(UsageError, match=reason):
        check_place(str(path), export)


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_written_into_an_export(export: Path, there: bool) -> None:
    path = export / "report.html"
    if there:
        path.write_text(FIRST)
    with pytest.raises(UsageError, match=re.escape(f"Name a path outside of {export}")):
        check_place(str(path), export)


@pytest.mark.parametrize(
    ("text", "reason"), [("", "must be a path"), ("s3://b/r.html", "on this machine"), ("none/r.html", "no directory")]
)
def test_what_is_no_path(export: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        check_place(text, export)


def test_a_directory_that_is_gone_by_then(export: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    path = check_place(str(tmp_path / "site" / "report.html"), export)
    (tmp_path / "site").rmdir()
    with pytest.raises(StoreError, match=re.escape(f"{path}: ")):
        write_page(path, PAGE)
