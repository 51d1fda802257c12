"""Takes the steps on the viewer's page that several tests begin with."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route, ViewportSize

WIDE: "ViewportSize" = {"width": 1280, "height": 800}


def shown(page: "Page") -> list[str]:
    """Returns the ids of the results once they are there."""
    page.wait_for_selector("#results:not([aria-busy])", state="attached")
    ids: list[str] = page.evaluate("[...document.querySelectorAll('#results a')].map(link => link.dataset.id)")
    return ids


def open_conversation(page: "Page", identity: str, item: int | None = None) -> None:
    """Follows a link to a conversation, or to an item of it."""
    shown(page)
    parameters = {"id": identity} if item is None else {"id": identity, "item": item}
    page.evaluate("parameters => { location.hash = new URLSearchParams(parameters) }", parameters)
    page.wait_for_selector(
        "#turns li, #transcript-state:not(:empty):not(:has-text('is being read')), #conversation-problem .error"
    )


def change(page: "Page", what: str, changed: Callable[[dict[str, Any]], None]) -> None:
    """Changes the server's answers to one question."""

    def answer(route: "Route") -> None:
        given = route.fetch()
        found = given.json()
        changed(found)
        route.fulfill(response=given, json=found)

    page.route(re.compile(rf"/{what}(\?.*)?$"), answer)
