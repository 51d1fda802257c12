"""The README and the manual are whole: their pages exist, are listed, and link to what exists."""

import re

import pytest

from tests.toolkit.manual import ALL, INDEX, MANUAL, PAGES, README, ROOT, Page

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)]+)\): (.*)$", re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(README.text.splitlines()) <= 250


@pytest.mark.parametrize("page", [INDEX, *PAGES.values()], ids=lambda page: page.name)
def test_each_page_has_a_title_and_a_summary(page: Page) -> None:
    heading, empty, line, *_ = page.text.split("\n")
    assert heading.startswith("# ")
    assert empty == ""
    assert line.startswith(page.summary)
    assert page.summary.endswith(".")
    assert 20 < len(page.summary) <= 90
    assert len(re.findall(r"^# ", page.prose, re.MULTILINE)) == 1


def test_the_index_lists_each_page_once_with_its_title_and_summary() -> None:
    listed = _ENTRY.findall(INDEX.text)
    assert sorted(listed) == sorted((page.title, f"{page.name}.md", page.summary) for page in PAGES.values())


def test_the_contents_of_the_readme_are_those_of_the_index() -> None:
    assert _ENTRY.findall(README.text.replace("](exporter/manual/", "](")) == _ENTRY.findall(INDEX.text)


@pytest.mark.parametrize("page", [*ALL, INDEX], ids=lambda page: page.name)
def test_links_lead_to_what_there_is(page: Page) -> None:
    for _, link in _LINK.findall(page.prose):
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.is_file(), link
        assert target.is_relative_to(MANUAL if page.path.parent == MANUAL else ROOT), link
        if anchor:
            assert anchor in Page(target).anchors, link


def test_anchors_are_unique() -> None:
    for page in ALL:
        headings = re.findall(r"^#+ (.*)$", page.prose, re.MULTILINE)
        assert len(headings) == len(page.anchors), page.name
