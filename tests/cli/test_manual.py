"""`exporter help` shows pages, here of a manual that the tests write."""

import io
import sys
from pathlib import Path

import pytest

from exporter.cli import main, manual
from tests.toolkit.dated import undated

CLOCKS = "# Clocks\n\nWhich clock\n[a run](sync.md#runs) goes by, e.g.\none: of two. More of it.\n\n"
CLOCKS += "| a | b |\n|---|---|\n| 1 | 2 |\n"
SYNC = "# Sync\n\nBring DEST up to the present\n\nAnd so on."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "clocks.md").write_text(CLOCKS, encoding="utf-8")
    (tmp_path / "sync.md").write_text(SYNC, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no page", encoding="utf-8")
    monkeypatch.setattr(manual, "folder", lambda: tmp_path)
    return tmp_path


def test_topics_are_listed_with_a_line_each(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    heading, *topics = capsys.readouterr().out.splitlines()
    assert heading == "Topics of the manual; exporter help TOPIC shows one:"
    assert topics[:2] == [
        "  clocks  Which clock a run goes by, e.g. one: of two.",
        "  sync    Bring DEST up to the present",
    ]
    assert topics[2].startswith("Also: ")


def test_the_index_orders_them_and_is_no_topic(pages: Path) -> None:
    (pages / "index.md").write_text(
        "# Manual\n\n- [Sync](sync.md)\n- [gone](gone.md) and [there](https://x/y)\n", encoding="utf-8"
    )
    (pages / "aside.md").write_text("# Aside\n", encoding="utf-8")
    assert {topic: page.line for topic, page in manual.read_pages(pages).items()} == {
        "sync": "Bring DEST up to the present",
        "aside": "",
        "clocks": "Which clock a run goes by, e.g. one: of two.",
    }


def test_a_page_is_its_own_text_when_it_is_piped(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "clocks"]) == 0
    assert capsys.readouterr().out == CLOCKS


def test_a_page_is_rendered_for_a_terminal(pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert main(["help", "clocks"]) == 0
    shown = terminal.getvalue()
    assert "Clocks" in shown and "\x1b[" in shown
    assert "# Clocks" not in shown and "|---|" not in shown


def show(*topic: str, lines: int = 24, pager: str = "no-such-pager") -> str:
    """Returns what `exporter help` writes to a terminal with this many lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", terminal := Terminal())
        for name, value in {"TERM": "dumb", "COLUMNS": "80", "LINES": str(lines), "PAGER": pager}.items():
            patch.setenv(name, value)
        assert main(["help", *topic]) == 0
    return terminal.getvalue()


def test_a_link_to_a_page_is_shown_as_the_command_that_shows_it(pages: Path) -> None:
    shown = " ".join(show("clocks").split())
    assert "Which clock a run (exporter help sync) goes by" in shown
    assert ".md" not in shown


def test_help_of_a_command_is_its_options_and_then_its_page(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--help"]) == 0
    options = capsys.readouterr().out
    assert main(["help", "sync"]) == 0
    assert capsys.readouterr().out == f"{options}\n{SYNC}"
    # A command whose page has another name; this manual does not have it.
    assert main(["help", "status"]) == 0
    assert capsys.readouterr().out.startswith("Usage: exporter status [DEST] [OPTIONS]\n")


def test_the_whole_manual(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "--all"]) == 0
    assert capsys.readouterr().out == f"{CLOCKS}\n{SYNC}"


def test_what_is_longer_than_the_screen_goes_through_the_pager_of_the_user(pages: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    pager = f"dd status=none of={seen}"
    assert "Clocks" in show("clocks", pager=pager)
    assert not seen.exists()
    assert show("clocks", lines=3, pager=pager) == ""
    assert "Clocks" in seen.read_text()


@pytest.mark.parametrize("pager", ["no-such-pager", "", '"'])
def test_without_a_pager_the_page_is_printed(pager: str, pages: Path) -> None:
    assert "Clocks" in show("clocks", lines=3, pager=pager)


def test_what_is_piped_is_never_paged(
    pages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAGER", "false")
    monkeypatch.setenv("LINES", "1")
    assert main(["help", "clocks"]) == 0
    assert capsys.readouterr().out == CLOCKS


@pytest.mark.parametrize(("asked", "nearest"), [("clock", "clocks"), ("snyc", "sync"), ("../sync", "sync")])
def test_an_unknown_topic_names_the_nearest(
    asked: str, nearest: str, pages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", asked]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert undated(said.err).startswith(f"exporter: the manual has no topic {asked!r}. Did you mean {nearest}?\n")


@pytest.mark.parametrize("there", [True, False])
def test_a_manual_without_pages_is_no_failure(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manual, "folder", lambda: tmp_path if there else tmp_path / "none")
    assert main(["help"]) == 0
    assert main(["help", "clocks"]) == 2
    assert (
        undated(capsys.readouterr().err)
        == "exporter: the manual has no topic 'clocks'. exporter help lists the topics\n"
    )


def test_the_package_s_own_pages_have_a_line_each() -> None:
    for topic, page in manual.read_pages(manual.folder()).items():
        assert page.text.startswith("# ") and page.line, topic


@pytest.mark.parametrize("alias", manual.ALIASES)
def test_a_word_that_is_no_page_leads_to_the_part_that_answers(alias: str, capsys: pytest.CaptureFixture[str]) -> None:
    page, title = manual.ALIASES[alias]
    text = manual.read_pages(manual.folder())[page].text
    assert main(["help", alias]) == 0
    shown = capsys.readouterr().out
    assert alias not in manual.read_pages(manual.folder())
    if title:
        assert shown.startswith(f"## {title}\n") and shown.endswith(f"\nMore: exporter help {page}\n")
        assert shown.removesuffix(f"\nMore: exporter help {page}\n") in text
        assert shown.count("\n## ") == 0
    else:
        assert shown == text


def test_topics_are_listed_by_their_name_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "topics"]) == 0
    listed = capsys.readouterr().out
    assert main(["help"]) == 0
    assert capsys.readouterr().out == listed
    assert all(word in listed for word in (*manual.ALIASES, "exit-statuses"))
