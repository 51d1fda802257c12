"""Tests the page of a report without a browser: what it says, what it asks for, and that names stay names."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser

import altair
import pytest
from msgspec.structs import replace

from exporter.report import blocks, charts
from exporter.report.axes import BYTES, COUNTS, SECONDS, SHARES, Form, Spec
from exporter.report.markup import Markup
from exporter.report.model import Absent, Count, Group, PartitionFiles, Report, Series, Tool, Volume
from exporter.report.page import FIRST, draw_page
from exporter.report.svg import draw
from tests.report.sample import MARKUP, empty_report, full_report

#: The elements that a page needs; none of them runs, loads or sends anything.
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section", "div", "span"),
    *("h1", "h2", "h3", "p", "a", "ul", "li", "dl", "dt", "dd", "code", "i", "bdi", "figure", "figcaption", "details"),
    *("summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "g", "path", "line", "text", "rect"),
}


class Elements(HTMLParser):
    """Collects the elements of a page, their ids and what its links name, and the text that people see."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def values(page: Elements, name: str) -> list[str | None]:
    return [value for each, value in page.attributes if each == name]


@pytest.fixture(scope="module")
def full() -> bytes:
    return draw_page(full_report())


def test_it_says_what_a_report_has(full: bytes) -> None:
    text = Elements(full).text.replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "Incomplete: 98 % of the time",
        "Yesterday: Friday, 13 Feb 2026",
        "1,436 conversations",
        "version v2 of agent-a",
        "times in Europe/Berlin",
        "user_id = (not shown)",
        "with the key key-2026",
        "more rows share this timestamp than a page can hold",
        "10 Feb 2026, 03:00, ended with exit status 6; the export has changed since",
        "Users interrupted 10,899 of 87,192 messages of agents (12.5 %).",
        "10,899 kept, 23 left for the next run, 430 lost. 7 recordings of the whole export not looked for yet.",
        "The last 10 of 27 runs",
    ):
        assert words in text, words
    assert "None" not in text.replace("None is missing", "")


def test_an_empty_export_says_why_there_is_nothing_to_see() -> None:
    page = Elements(draw_page(empty_report()))
    for words in ("Complete, and empty", "no table turns.", "This export keeps no recordings.", "There is no file."):
        assert words in page.text
    assert values(page, "role").count("img") == 1
    assert "nan" not in page.text.lower()


def test_it_is_the_same_each_time(full: bytes) -> None:
    assert draw_page(full_report()) == full
    assert full.startswith(FIRST.encode())


def test_nothing_in_it_runs_or_loads(full: bytes) -> None:
    for page in map(Elements, (full, draw_page(empty_report()))):
        assert page.names <= ELEMENTS
        assert page.open == []
        assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style", "srcset")]
        assert all(link is not None and link.startswith("#") for link in values(page, "href"))
    assert not re.search(rb"https?:|url\(|@import|//www", full)


def test_its_policy_allows_its_own_style_and_nothing_else(full: bytes) -> None:
    style = full.partition(b"<style>")[2].partition(b"</style>")[0]
    digest = base64.b64encode(sha256(style).digest()).decode()
    assert values(Elements(full), "content")[1] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert values(Elements(full), "http-equiv") == ["Content-Security-Policy"]


def test_links_name_what_is_there_once(full: bytes) -> None:
    page = Elements(full)
    ids = values(page, "id")
    assert len(ids) == len({*ids})
    assert {f"#{each}" for each in ids} >= {*values(page, "href")}
    assert {*ids} >= {*values(page, "aria-labelledby")}


#: What names of agents, versions, tools and statuses may be.
NAMES = (
    MARKUP,
    "</style><style>*{display:none}</style>",
    '" onmouseover="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "</text></svg><script>alert(1)</script>",
    "<!--",
    "&lt;b&gt;",
    'x d="M0,0h0v0h0Z" opacity="1" 1.23456',
)


def test_names_are_shown_as_they_are() -> None:
    page = Elements(draw_page(with_names(*NAMES)))
    assert page.names <= ELEMENTS
    assert not [each for each, _ in page.attributes if each.startswith("on")]
    for name in NAMES:
        # By status, by group, by version twice as a version and twice as an agent, and among the tools.
        assert page.text.count(name) >= 7, name
        # Beside the chart of versions.
        assert (name if len(name) < 22 else f"{name[:21]}…") in page.text
    assert any(NAMES[-1] in (label or "") for label in values(page, "aria-label"))


def with_names(*names: str) -> Report:
    """Returns a report in which whatever the API or a user has named has one of these names."""
    report = full_report()
    turns = report.turns
    assert not isinstance(turns, Absent)
    versions = tuple(
        Group(
            name=name, agent_id=name, conversations=5, share=0.5, latency_count=50, latency_p50=place, latency_p95=9.0
        )
        for place, name in enumerate(names, 1)
    )
    tool = Tool(name="", calls=5, errors=0, unanswered=0, timed=0, duration_p50=None, duration_p95=None)
    series = tuple(Series(name=name, values=(5.0,)) for name in names)
    return replace(
        report,
        destination=names[1],
        trust=replace(report.trust, organization=names[0], fields=names, withheld=names),
        volume=Volume(grain="day", by="channel", periods=("2026-02-01",), series=series, total=(5 * len(names),)),
        statuses=tuple(Count(name=name, count=5, share=0.1) for name in names),
        groups=versions,
        versions=versions,
        turns=replace(turns, tools=tuple(replace(tool, name=name) for name in names)),
    )


def test_what_html_cannot_hold_is_replaced() -> None:
    page = draw_page(with_names("a\x00b\ud800c\x1b[31m\n", "b"))
    assert not re.search(rb"[\x00\x1b]", page)
    assert "a\N{REPLACEMENT CHARACTER}b" in Elements(page).text


def test_three_years_and_many_agents_stay_small() -> None:
    report, weeks = full_report(), 160
    periods = tuple(f"{2023 + week // 52}-{1 + week % 52 // 5:02d}-{1 + 5 * (week % 5):02d}" for week in range(weeks))
    volume = Volume(
        grain="week",
        by="agent_id",
        periods=periods,
        series=tuple(Series(name=f"agent {at}", values=(1000.0,) * weeks, is_rest=at == 7) for at in range(8)),
        total=(8000,) * weeks,
    )
    version = report.versions[0]  # type: ignore[index]
    large = replace(
        report,
        volume=volume,
        groups=tuple(replace(version, name=f"agent {at} {'x' * 80}") for at in range(50)),
        versions=tuple(replace(version, name=f"{at} {'x' * 80}", agent_id="y" * 100) for at in range(50)),
        files=replace(
            report.files,
            partitions=tuple(
                PartitionFiles(name=f"created_date={day}", files=2, small_files=0, rows=10, bytes=10) for day in periods
            ),
        ),
    )
    assert len(draw_page(large)) < 700_000


def test_its_charts_are_what_vega_lite_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in a name would be left out of the chart in silence."""
    specs: list[Spec] = []

    def noted(spec: Spec, _: str) -> Markup:
        specs.append(spec)
        return Markup()

    monkeypatch.setattr(blocks, "draw", noted)
    draw_page(full_report())
    assert len(specs) == 14
    for spec in specs:
        altair.LayerChart.from_dict(spec)


@pytest.mark.parametrize(
    ("form", "most", "expected"),
    [
        (COUNTS, 1, ["0", "1"]),
        (COUNTS, 2, ["0", "1", "2"]),
        (COUNTS, 3_271, ["0", "1,000", "2,000", "3,000", "4,000"]),
        (COUNTS, 2_000_000, ["0", "500k", "1M", "1.5M", "2M"]),
        (BYTES, 3_900_000, ["0", "1 MB", "2 MB", "3 MB", "4 MB"]),
        (SHARES, 0.098, ["0 %", "2 %", "4 %", "6 %", "8 %", "10 %"]),
        (SECONDS, 1.8, ["0 s", "0.5 s", "1 s", "1.5 s", "2 s"]),
    ],
)
def test_axes_write_numbers_as_texts_do(form: Form, most: float, expected: list[str]) -> None:
    drawn = Elements(draw(charts.lines(["2026-02-01"], "day", [[most]], form), "a chart").encode())
    shown = drawn.text.replace("\N{NO-BREAK SPACE}", " ")
    assert shown == "".join(["1 Feb", *expected])


def test_labels_of_bins_do_not_overlap() -> None:
    """A day has ten characters, of which few have room."""
    days = [f"2026-01-{day:02d}" for day in range(1, 32)]
    shown = Elements(draw(charts.histogram(days, [1] * 31), "a chart").encode()).text
    assert shown == "01" + "2026-01-01" + "2026-01-09" + "2026-01-17" + "2026-01-25"


def test_conversations_by_status_stand_there_once() -> None:
    page = Elements(draw_page(replace(full_report(), by="status")))
    assert page.text.count("Conversations by status") == 1


def test_a_day_that_the_range_has_a_part_of_is_not_the_one_with_the_fewest() -> None:
    report = full_report()
    volume = report.volume
    assert not isinstance(volume, Absent)
    # The last day is cut, and the first one is not.
    few = replace(volume, total=(2, *volume.total[1:-1], 1))
    text = Elements(draw_page(replace(report, volume=few))).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "the fewest, 2: 1 Feb 2026." in text


@pytest.mark.parametrize(
    ("by", "shown"), [("agent_id", "agent"), ("agent_version_id", "version"), ("status", "status")]
)
def test_groups_are_called_by_a_plain_word(by: str, shown: str) -> None:
    assert f"<caption>Conversations by {shown}</caption>".encode() in draw_page(replace(full_report(), by=by))
