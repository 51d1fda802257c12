"""Tests the report of the demo in a browser: what people see of it, whichever screen they have, or on paper."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from exporter.cli import main
from tests.toolkit.browser import chromium, violations, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

#: The heights of what a chart has drawn in each color, by where it begins from the left.
BARS = """svg => [...svg.querySelectorAll('path')].filter(each => each.getAttribute('fill')?.startsWith('var(--s'))
    .map(each => [each.getBBox().x, each.getAttribute('fill'), each.getBBox().height])"""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report") / "calls"
    assert main(["demo", str(directory), "--rows", "600", "--quiet"]) == 0
    return directory


@pytest.fixture(scope="module")
def report(export: Path) -> Path:
    page = export.with_name("report.html")
    assert main(["report", str(export), "--output", str(page), "--quiet"]) == 0
    return page


@pytest.fixture(scope="module")
def browser(report: Path) -> Iterator["Browser"]:
    # After what needs an event loop, which a thread with a browser cannot run.
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser: "Browser", report: Path) -> Iterator["Page"]:
    with watched_page(browser, viewport={"width": 1280, "height": 800}) as page:
        page.goto(report.as_uri())
        yield page


def asked(export: Path, sql: str) -> list[Any]:
    """Asks DuckDB, which reads the files by itself. A fresh export has no others."""
    with duckdb.connect() as connection:
        for table in ("conversations", "turns"):
            connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{export}/{table}/*/*.parquet')")
        return connection.execute(sql).fetchall()


def figure(page: "Page", title: str) -> "Locator":
    return page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))


def cells(table: "Locator") -> list[list[str]]:
    rows: list[list[str]] = table.evaluate(
        "table => [...table.rows].slice(1).map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    )
    return rows


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_answers_come_first(page: "Page", export: Path) -> None:
    ((total, yesterday),) = asked(
        export,
        "SELECT count(*), count(*) FILTER (created_at >= '2026-01-31 00:00Z' AND created_at < '2026-02-01 00:00Z') "
        "FROM conversations",
    )
    ((version, agent, median),) = asked(
        export,
        "SELECT agent_version_id, agent_id, quantile_disc(round(e2e_latency * 1000), 0.5) AS median "
        "FROM conversations JOIN turns ON id = conversation_id "
        "WHERE type = 'message' AND role = 'assistant' AND e2e_latency IS NOT NULL "
        "GROUP BY ALL HAVING count(*) >= 20 "
        "ORDER BY median DESC, quantile_disc(e2e_latency, 0.95) DESC LIMIT 1",
    )
    complete, day, slowest = page.locator(".answer").all_inner_texts()
    assert f"Complete: all {total:,} conversations from 2 Jan 2026, 00:00 to 1 Feb 2026, 00:00." in plain(complete)
    assert "Yesterday: Saturday, 31 Jan 2026" in plain(day)
    assert f"{yesterday:,} conversations" in plain(day)
    assert "None is missing" in plain(day)
    assert f"version {version} of {agent}: {median / 1000:.2f} s" in plain(slowest)
    assert page.locator(".answer").last.bounding_box()["y"] < 800, "seen without scrolling"  # type: ignore[index]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_chart_of_days_and_its_table_are_what_duckdb_counts(page: "Page", export: Path) -> None:
    counted = asked(export, "SELECT channel, count(*) AS n FROM conversations GROUP BY ALL ORDER BY n DESC, channel")
    by_day: dict[str, dict[str, int]] = {}
    for day, channel, count in asked(
        export,
        "SELECT strftime(created_at AT TIME ZONE 'UTC', '%-d %b %Y'), channel, count(*) "
        "FROM conversations GROUP BY ALL",
    ):
        by_day.setdefault(day, {})[channel] = count
    shown = figure(page, "Conversations by day")
    names = shown.locator(".legend li").all_inner_texts()
    assert names == [channel for channel, _ in counted]
    rows = cells(shown.locator("table"))
    assert len(rows) == 30
    for day, total, *counts in rows:
        known = by_day.get(plain(day), {})
        assert number(total) == sum(known.values())
        assert [number(count) for count in counts] == [known.get(name, 0) for name in names]
    heights: dict[str, float] = {}
    bars = shown.locator("svg").evaluate(BARS)
    for _, color, height in bars:
        heights[color] = heights.get(color, 0) + height
    assert len(bars) == sum(len(known) for known in by_day.values())
    of_one = sum(heights.values()) / sum(count for _, count in counted)
    for place, (_, count) in enumerate(counted):
        assert heights[f"var(--s{place})"] == pytest.approx(of_one * count, rel=0.02)


def test_the_hours_of_the_week_are_what_duckdb_counts(page: "Page", export: Path) -> None:
    counted = {
        (hour, weekday): count
        for weekday, hour, count in asked(
            export,
            "SELECT isodow(created_at AT TIME ZONE 'UTC'), hour(created_at AT TIME ZONE 'UTC'), count(*) "
            "FROM conversations GROUP BY ALL",
        )
    }
    for hour, (_, *counts) in enumerate(
        cells(figure(page, "When conversations begin, over the week").locator("table"))
    ):
        assert [number(count) for count in counts] == [counted.get((hour, day), 0) for day in range(1, 8)]


def test_every_chart_is_named_and_shows_something(page: "Page") -> None:
    charts = page.get_by_role("img")
    assert charts.count() == 13
    for chart in charts.all():
        assert re.search(r"\d", chart.get_attribute("aria-label") or "")
        assert chart.evaluate("svg => svg.getBBox().height") > 10
    colors = page.locator("figure > svg path").evaluate_all(
        "paths => paths.map(path => getComputedStyle(path).fill + getComputedStyle(path).stroke)"
    )
    assert not [color for color in colors if "var" in color]
    assert "rgb(36, 103, 176)none" in colors


def test_nothing_of_a_chart_is_cut_off(page: "Page") -> None:
    outside = page.locator("figure > svg[role=img]:not(.band)").evaluate_all(
        """charts => charts.flatMap(chart => [...chart.querySelectorAll('text')].filter(text => {
            const [all, one] = [chart.getBoundingClientRect(), text.getBoundingClientRect()];
            return one.left < all.left - 1 || one.right > all.right + 1 || one.bottom > all.bottom + 1;
        }).map(text => text.textContent))"""
    )
    assert outside == []


def test_axe_finds_nothing_serious(page: "Page") -> None:
    page.locator("details").first.evaluate("details => details.open = true")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert violations(page, "color-contrast") == []
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("width", [360, 640])
def test_it_is_no_wider_than_a_narrow_screen(browser: "Browser", report: Path, width: int) -> None:
    """360 is a phone; 640 is a screen of 1280 at a zoom of 200 percent."""
    with watched_page(browser, viewport={"width": width, "height": 800}) as page:
        page.goto(report.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        least = page.locator("figure > svg text").evaluate_all(
            "texts => Math.min(...texts.map(text => text.getBoundingClientRect().height))"
        )
        assert least > 10


def test_it_prints_on_white_paper_without_a_chart_in_two_parts(browser: "Browser", report: Path) -> None:
    with watched_page(browser, color_scheme="dark", viewport={"width": 700, "height": 1000}) as page:
        page.goto(report.as_uri())
        printed = page.pdf(format="A4")
        assert printed.startswith(b"%PDF-")
        assert 3 <= len(re.findall(rb"/Type /Page\b", printed)) <= 9
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper')") == "#fff"
        assert {*page.locator("figure").evaluate_all("all => all.map(each => getComputedStyle(each).breakInside)")} == {
            "avoid"
        }
