"""A reader finds, reads and hears conversations on the viewer's page, by keyboard, in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest

from tests.toolkit.browser import violations, watched_page
from tests.viewer.page_export import ARABIC, HOSTILE, HOSTILE_ID
from tests.viewer.page_steps import WIDE, open_conversation, shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: What a window of 1280 pixels shows at 200 % is laid out as on one of half the size.
ZOOMED = {"width": 640, "height": 400}
NARROW = {"width": 320, "height": 640}
#: Elements that run something, load something or send something somewhere.
ACTIVE = "script, iframe, object, embed, img, svg, math, style, link, base, meta, form, video, source, template"
#: Resolves when the audio has come to this second.
REACHES = """second => new Promise((resolve) => {
  const look = () => audio.currentTime >= second && resolve(audio.currentTime);
  audio.addEventListener("timeupdate", look);
  look();
})"""


@pytest.fixture
def page(browser: "Browser", address: str) -> Iterator["Page"]:
    """Opens the page, and checks that all it asks for lies below its address, which no other place has."""
    with watched_page(browser, viewport=WIDE) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        yield page
        assert all(url.startswith((address, "data:image/svg+xml,")) for url in asked)
        secret = urlsplit(address).path.strip("/")
        assert secret not in page.content() + urlsplit(page.url).fragment + page.title()


def stored(viewed: Path, where: str = "true") -> list[str]:
    """Returns the ids of the conversations of a condition, in which TURNS stands for the table of turns."""
    where = where.replace("TURNS", f"read_parquet('{viewed}/turns/**/*.parquet')")
    rows = duckdb.execute(
        f"SELECT id FROM read_parquet('{viewed}/conversations/**/*.parquet') AS conversations WHERE {where} "
        "ORDER BY created_at DESC, id DESC"
    )
    return [identity for (identity,) in rows.fetchall()]


def test_results_are_the_rows_that_duckdb_finds(page: "Page", viewed: Path) -> None:
    everything = stored(viewed)
    assert shown(page) == everything[:50]
    assert page.inner_text("#found") == "50 conversations shown, and there are more."
    page.click("#more")
    page.wait_for_selector("#results li:nth-child(51)")
    assert page.evaluate("document.activeElement.dataset.id") == everything[50]
    page.click("#more")
    page.wait_for_selector(f"#results li:nth-child({len(everything)})")
    assert shown(page) == everything
    assert page.inner_text("#found") == f"{len(everything)} conversations: all."

    counts = dict(
        duckdb.execute(
            f"SELECT agent_id, count(*) FROM read_parquet('{viewed}/conversations/**/*.parquet') GROUP BY 1"
        ).fetchall()
    )
    options = page.evaluate(
        "[...document.querySelectorAll('[name=agent_id] option')].slice(1).map(each => [each.value, each.text])"
    )
    assert {value: int(text.rpartition("(")[2].rstrip(")")) for value, text in options} == counts


FILTERS = (
    ({"channel": "text"}, "channel = 'text'"),
    ({"status": "transferred", "agent_id": "agt_005eed01"}, "status = 'transferred' AND agent_id = 'agt_005eed01'"),
    (
        {"since": "2026-02-10", "until": "2026-02-10 12:00"},
        "created_at >= '2026-02-10' AND created_at < '2026-02-10 12:00+00'",
    ),
    ({"text": "RENTAL CAR"}, "conversation ILIKE '%rental car%'"),
    ({"user": "usr_0"}, "user_id LIKE 'usr_0%'"),
    (
        {"duration_above": "300", "agent_version_id": "ver_005eed01_455"},
        "duration >= 300 AND agent_version_id = 'ver_005eed01_455'",
    ),
    ({"recording": "kept"}, "id IN ('played', 'lost')"),
    (
        {"latency_above": "1.65"},
        "id IN (SELECT conversation_id FROM TURNS WHERE e2e_latency >= 1.65)",
    ),
)


def test_filters_find_what_duckdb_finds(page: "Page", viewed: Path) -> None:
    for filters, where in FILTERS:
        shown(page)
        for name, value in filters.items():
            field = page.locator(f"#filters [name={name}]")
            if field.evaluate("field => field.tagName") == "SELECT":
                page.wait_for_selector(f"[name={name}] option[value='{value}']", state="attached")
                field.select_option(value)
            else:
                field.fill(value)
        page.click("#filters .primary")
        expected = stored(viewed, where)[:50]
        assert expected
        assert shown(page) == expected
        assert {name: [value] for name, value in filters.items()} == parse_qs(urlsplit(page.url).fragment)
        page.click("#clear")
    assert shown(page) == stored(viewed)[:50]
    with page.expect_response(lambda response: "/conversations" in response.url):
        page.click("#filters .primary")
    assert shown(page) == stored(viewed)[:50]
    page.go_back()
    page.wait_for_selector(f"#results li:nth-child({len(expected)}):last-child [data-id='{expected[-1]}']")
    assert shown(page) == expected


def test_the_keyboard_leads_from_a_search_to_a_turn_that_plays_and_back(page: "Page") -> None:
    shown(page)
    page.keyboard.press("/")
    page.keyboard.type("sentence 3 of")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results .snippet")
    assert shown(page) == ["played", "lost"]
    for key in ("ArrowDown", "j", "k", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#turns li")
    assert page.evaluate("document.activeElement.id") == "conversation-title"
    for key in ("j", "ArrowDown", "j", "j", "j", "k"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.id") == "turn-3"
    page.keyboard.press("Enter")
    assert page.evaluate("audio.currentTime") >= 12
    page.wait_for_selector("#turn-3[aria-current=true]")
    assert 12 <= page.evaluate(REACHES, 12.2) < 17
    assert "Sentence 2 of the call" in page.inner_text("[aria-current]")
    page.keyboard.press(" ")
    assert page.evaluate("audio.paused")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#turn-4[aria-current=true]")
    page.wait_for_url("**item=3")
    assert page.locator("[aria-current]").count() == 1
    assert parse_qs(urlsplit(page.url).fragment) == {"text": ["sentence 3 of"], "id": ["played"], "item": ["3"]}
    link = page.url
    page.keyboard.press("Escape")
    page.wait_for_selector("#search-view:not([hidden])")
    assert page.evaluate("document.activeElement.dataset.id") == "played"
    assert page.evaluate("audio.paused")
    page.go_forward()
    page.wait_for_selector("#turns li")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("#turn-3:focus")


def test_a_click_plays_and_the_page_follows_until_the_reader_scrolls(page: "Page") -> None:
    open_conversation(page, "played")
    page.select_option("#speed", "2")
    page.click("#turn-2 p")
    page.wait_for_selector("#turn-2[aria-current=true]")
    assert page.evaluate("[audio.paused, audio.playbackRate]") == [False, 2]
    assert 7 <= page.evaluate("audio.currentTime") < 12
    page.evaluate("audio.currentTime = 57")
    page.wait_for_selector("#turn-15[aria-current=true]")
    assert page.evaluate(
        "turns.querySelector('[aria-current]').getBoundingClientRect().bottom <= player.getBoundingClientRect().top"
    )
    page.mouse.move(700, 300)
    page.mouse.wheel(0, -5000)
    page.wait_for_selector("#follow:not(:checked)")
    page.evaluate("audio.currentTime = 20")
    page.wait_for_selector("#turn-5[aria-current=true]")
    page.check("#follow")
    page.fill("#shift", "-10")
    page.click("#turn-13 [data-seek]")
    page.wait_for_selector("#turn-13[aria-current=true]")
    assert 32 <= page.evaluate("audio.currentTime") < 37


def test_the_slowest_reply_is_found(page: "Page") -> None:
    open_conversation(page, "played")
    assert page.inner_text("#slowest") == "Slowest reply: after 1.7 s"
    page.click("#slowest button")
    page.wait_for_selector("#turn-15:focus")


def test_a_conversation_says_all_that_is_stored(page: "Page") -> None:
    open_conversation(page, "played")
    head = page.inner_text("#head")
    assert '"order": 12345678901234567890' in head
    assert "1 min, audio/wav, 1.9 MB" in head
    assert page.inner_text("#turn-count") == "16 items"
    tool = page.inner_text("#turn-5")
    assert all(text in tool for text in ("find_order", "took 1 s", '"tags": [', '"id": 12345678901234567890'))
    assert "failed" in page.inner_text("#turn-9")
    assert "interrupted" in page.inner_text("#turn-7")
    assert "replied after 0.9 s" in page.inner_text("#turn-3")
    assert "confidence 91 %" in page.inner_text("#turn-2")
    page.click("#turn-3 summary")
    assert '"e2e_latency": 0.9' in page.inner_text("#turn-3 details pre")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: "Browser", address: str, scheme: Literal["light", "dark"]) -> None:
    with watched_page(browser, viewport=WIDE, color_scheme=scheme) as page:
        page.goto(f"{address}#text=sentence 3")
        assert shown(page) == ["played", "lost"]
        assert violations(page) == []
        open_conversation(page, "played")
        page.click("#turn-2 p")
        page.wait_for_selector("#turn-2[aria-current=true]")
        page.click("#turn-5 summary")
        assert violations(page) == []
        if scheme == "light":
            page.keyboard.press("?")
            page.wait_for_selector("#keys[open]")
            assert violations(page) == []
            page.click("#keys .primary")


def test_every_classic_of_injection_stays_a_text(page: "Page") -> None:
    assert HOSTILE_ID in shown(page)
    elements = f"document.querySelectorAll('{ACTIVE}').length"
    before = page.evaluate(elements)
    page.keyboard.press("/")
    page.keyboard.type("window.hacked")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results .snippet")
    assert shown(page) == [HOSTILE_ID]
    assert page.evaluate(elements) == before
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#turns li")
    page.evaluate("document.querySelectorAll('#conversation-view details').forEach(each => { each.open = true })")
    page.wait_for_selector("#turns li:last-child details pre")
    said = page.locator("li.turn > .said").all_text_contents()
    assert said[: len(HOSTILE)] == list(HOSTILE)
    assert page.inner_text("#head").count("window.hacked=1") > len(HOSTILE)
    assert page.evaluate(elements) == before
    assert page.evaluate("window.hacked") is None
    assert parse_qs(urlsplit(page.url).fragment)["id"] == [HOSTILE_ID]


def test_nothing_is_cut_off_at_200_percent_or_on_a_narrow_screen(page: "Page") -> None:
    too_wide = """[...document.querySelectorAll('body *')].filter(each => !each.closest('.unseen, .skip')
      && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 80))"""
    for viewport in (ZOOMED, NARROW):
        page.set_viewport_size({"width": viewport["width"], "height": viewport["height"]})
        shown(page)
        assert page.evaluate(too_wide) == []
        for identity in ("played", "arabic", HOSTILE_ID):
            open_conversation(page, identity)
            page.wait_for_selector("#turn-1")
            assert page.evaluate(too_wide) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("Escape")


def test_text_from_right_to_left_reads_so(page: "Page") -> None:
    open_conversation(page, "arabic")
    text = page.locator("#turn-0 .said")
    assert text.inner_text() == ARABIC
    assert text.evaluate("each => [getComputedStyle(each).direction, each.matches(':dir(rtl)')]") == ["rtl", True]
    assert page.evaluate("[...document.querySelectorAll('h1, bdi')].some(each => each.textContent.includes('وكيل'))")
