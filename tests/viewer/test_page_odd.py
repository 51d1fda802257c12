"""The viewer's page stands half a million items, what is missing, protected or changed, and a server that fails."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.toolkit.browser import watched_page
from tests.viewer.page_steps import WIDE, change, open_conversation, shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ITEMS = 500_000
#: They fit into the minute that the recording lasts.
ITEM_SECONDS = 60 / ITEMS


@pytest.fixture
def page(browser: "Browser", address: str) -> Iterator["Page"]:
    with watched_page(browser, viewport=WIDE) as page:
        page.goto(address)
        yield page


@contextmanager
def unwatched(browser: "Browser") -> Iterator["Page"]:
    """Opens a page on which requests may fail, which Chromium logs as errors."""
    context = browser.new_context(viewport=WIDE)
    try:
        yield context.new_page()
    finally:
        context.close()


def refuse(page: "Page", what: str, status: int, error: str) -> None:
    body = json.dumps({"error": error})
    page.route(
        re.compile(rf"/{what}(\?.*)?$"),
        lambda route: route.fulfill(status=status, body=body, content_type="application/json"),
    )


def serve_many(page: "Page") -> list[dict[str, list[str]]]:
    """Answers for a transcript of half a million items; returns the list that the questions go to."""
    asked: list[dict[str, list[str]]] = []

    def item(index: int) -> dict[str, Any]:
        start = index * ITEM_SECONDS
        return {
            "index": index, "type": "message", "role": "user", "text": f"Item {index} says something", "raw": None,
            "start_seconds": start, "end_seconds": None, "latency": {}, "tool_calls": [], "interrupted": None,
            "confidence": None, "at": None, "shortened": False,
        }  # fmt: skip

    def answer(route: "Route") -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        asked.append(query)
        limit = int(query["limit"][0])
        start = int(query["from"][0]) if "from" in query else int(float(query["at"][0]) / ITEM_SECONDS) // limit * limit
        turns = [item(index) for index in range(start, min(start + limit, ITEMS))]
        route.fulfill(json={"turns": turns, "from": start, "total": ITEMS, "next": None, "note": None, "clock": None})

    page.route(re.compile(r"/turns\?"), answer)
    return asked


def indexes(page: "Page") -> list[int]:
    found: list[int] = page.evaluate(
        "[...document.querySelectorAll('#turns li')].map(each => Number(each.dataset.index))"
    )
    return found


def test_half_a_million_items_are_read_from_a_small_document(page: "Page") -> None:
    asked = serve_many(page)
    open_conversation(page, "played")
    page.wait_for_selector("#turn-0")
    assert page.inner_text("#turn-count") == "500,000 items"
    assert page.get_attribute("#turn-7", "aria-setsize") == str(ITEMS)

    for index in (150, 650, 1150):
        while index not in indexes(page):
            page.evaluate("document.querySelector('#turns li:last-child').scrollIntoView()")
            page.wait_for_selector(f"#turn-{indexes(page)[-1] + 1}")
    found = indexes(page)
    assert found == list(range(found[0], found[0] + len(found)))
    assert len(found) <= 500
    assert page.evaluate("document.querySelectorAll('*').length") < 8000
    assert len(asked) < 20

    page.fill("#jump input", "500000")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#turn-{ITEMS - 1}:focus")
    page.wait_for_selector("#later", state="hidden")
    page.keyboard.press("k")
    page.wait_for_selector(f"#turn-{ITEMS - 2}:focus")
    # The page before is put above, and nothing moves.
    top = page.evaluate(
        "(each => { each.scrollIntoView(); return each.getBoundingClientRect().top })(turns.firstChild)"
    )
    page.wait_for_selector(f"#turn-{ITEMS - 200}", state="attached")
    assert (
        abs(
            page.evaluate("each => each.getBoundingClientRect().top", page.query_selector(f"#turn-{ITEMS - 100}")) - top
        )
        < 2
    )


def test_what_is_heard_far_away_is_loaded_and_followed(page: "Page") -> None:
    asked = serve_many(page)
    open_conversation(page, "played")
    page.wait_for_selector("#turn-0")
    page.evaluate("audio.currentTime = 30")
    page.wait_for_selector("#turn-250000[aria-current=true]")
    assert 250_000 in indexes(page)
    assert page.locator("[aria-current]").count() == 1
    assert [query["at"] for query in asked if "at" in query] == [["30"]]


def test_a_transcript_without_times_is_not_asked_for_again_and_again(page: "Page") -> None:
    def untimed(answer: dict[str, Any]) -> None:
        answer["total"] = ITEMS
        for turn in answer["turns"]:
            turn["start_seconds"] = None

    change(page, "turns", untimed)
    asked: list[str] = []
    open_conversation(page, "played")
    page.on("request", lambda request: asked.append(request.url) if "at=" in request.url else None)
    for tenth in range(10):
        page.evaluate(
            "second => new Promise((resolve) => { audio.onseeked = resolve; audio.currentTime = second })",
            30 + tenth / 10,
        )
    assert len(asked) == 1


def test_a_recording_whose_file_is_missing_says_what_to_do(page: "Page") -> None:
    open_conversation(page, "lost")
    page.wait_for_selector("#turns li")
    assert "the file of this recording is missing. exporter verify says what else is" in page.inner_text("#head")
    assert page.is_hidden("#player")
    assert page.locator("#turns button").count() == 0
    page.click("#turn-2 p")
    page.keyboard.press(" ")
    assert page.evaluate("audio.paused")


def test_an_item_behind_the_end_of_its_recording_says_so(page: "Page") -> None:
    def later(answer: dict[str, Any]) -> None:
        answer["turns"][-1]["start_seconds"] = 90

    change(page, "turns", later)
    open_conversation(page, "played")
    page.evaluate(
        "new Promise(resolve => audio.duration ? resolve() : audio.addEventListener('loadedmetadata', resolve))"
    )
    page.click("#turn-15 [data-seek]")
    assert page.inner_text("#player-problem").startswith("The recording ends at 1:00, before this item")
    assert page.evaluate("audio.paused")
    page.click("#turn-2 [data-seek]")
    assert page.inner_text("#player-problem") == ""


def test_a_recording_that_cannot_be_read_says_why_in_the_words_of_the_server(browser: "Browser", address: str) -> None:
    with unwatched(browser) as page:
        refuse(page, "recording", 500, "media/x.wav: its bytes are not those that were written. Run `exporter verify`")
        page.goto(address)
        open_conversation(page, "played")
        page.wait_for_selector("#player-problem:not(:empty)")
        said = page.inner_text("#player-problem")
        assert said == "media/x.wav: its bytes are not those that were written. Run exporter verify"


def test_a_conversation_without_a_transcript_says_so(page: "Page") -> None:
    open_conversation(page, "silent")
    assert page.inner_text("#transcript-state") == "This conversation has no transcript."
    assert "none" in page.inner_text("#head .facts")
    assert page.is_hidden("#player")
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    page.wait_for_selector("#search-view:not([hidden])")


def test_what_cannot_be_found_says_so_in_the_words_of_the_server(browser: "Browser", address: str) -> None:
    with unwatched(browser) as page:
        page.goto(f"{address}#since=yesterdayish")
        page.wait_for_selector("#search-problem .error")
        assert "yesterdayish" in page.inner_text("#search-problem")
        open_conversation(page, "nobody")
        assert page.inner_text("#conversation-problem p") == "there is no conversation with this id in the export"
        page.keyboard.press("Escape")
        page.fill("[name=since]", "")
        page.fill("[name=text]", "nobody ever said this")
        page.keyboard.press("Enter")
        page.wait_for_selector("#found:has-text('Nothing matches')")
        page.click("#clear")
        assert len(shown(page)) == 50


def test_an_export_that_has_changed_is_loaded_again(browser: "Browser", address: str) -> None:
    with unwatched(browser) as page:
        page.goto(address)
        shown(page)
        refuse(page, "conversation", 409, "the export has changed: load this page again")
        open_conversation(page, "played")
        page.unroute_all()
        page.click("text=Load the page again")
        page.wait_for_selector("#turns li")


def test_a_server_that_is_gone_is_said_to_be_gone_and_asked_again_on_demand(browser: "Browser", address: str) -> None:
    with unwatched(browser) as page:
        page.goto(address)
        shown(page)
        page.route(re.compile(r"/turns\?"), lambda route: route.abort())
        open_conversation(page, "played")
        page.wait_for_selector("#conversation-problem .error")
        assert "Start exporter view again" in page.inner_text("#conversation-problem")
        page.unroute_all()
        page.click("text=Try again")
        page.wait_for_selector("#turn-3")


def test_what_is_incomplete_or_protected_is_marked(page: "Page") -> None:
    def changed(about: dict[str, Any]) -> None:
        about["notes"] = ["A part of the range is missing: `exporter status` says which"]
        rules = {"custom_metadata.order": "drop", "status": "keep", "conversation.items[*].content": "redact all"}
        about["policy"] = {
            "fields": [{"field": field, "action": action} for field, action in rules.items()],
            "note": "",
        }

    change(page, "about", changed)
    page.reload()
    open_conversation(page, "played")
    assert page.inner_text("#notes") == "A part of the range is missing: exporter status says which"
    assert page.locator("#head .mark").all_inner_texts() == ["order: drop"]
    assert "conversation.items[*].content: redact all" in page.inner_text("#head .note")


def test_an_empty_export_says_how_to_fill_it(page: "Page") -> None:
    change(page, "conversations", lambda answer: answer.update(rows=[], cursor=None))
    page.reload()
    page.wait_for_selector("#found:has-text('This export holds no conversation yet. Run exporter export')")


def test_a_search_that_ran_out_of_time_goes_on_where_it_stopped(page: "Page") -> None:
    asked: list[str] = []

    def cut(answer: dict[str, Any]) -> None:
        row = {"id": f"row {len(asked)}", "created_at": "2026-02-10T00:00:00Z"}
        answer.update(rows=[row], note="Searched back to 2026-02-10, and found no more yet", cursor="WzEsIiJd")

    change(page, "conversations", cut)
    page.on("request", lambda request: asked.append(request.url) if "/conversations" in request.url else None)
    page.reload()
    page.wait_for_selector("#found:has-text('1 conversation so far. Searched back to')")
    page.click("text=Search on")
    page.wait_for_selector("#found:has-text('2 conversations so far')")
    assert parse_qs(urlsplit(asked[-1]).query)["cursor"] == ["WzEsIiJd"]


def test_single_keys_can_be_turned_off(page: "Page") -> None:
    shown(page)
    page.keyboard.press("?")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page.wait_for_selector("#keys", state="hidden")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") != "text"
    page.click("#show-keys")
    page.check("#keys-on")
    page.click("#keys .primary")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
