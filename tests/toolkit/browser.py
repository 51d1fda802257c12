"""Drives Debian's Chromium, without a window, over pages that are served on loopback or lie on disk.

While a browser is open, its thread counts as one that runs an event loop: there, a test cannot call `asyncio.run`. A
server that the page needs is another process, or has a thread of its own.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from tests.toolkit.programs import do_without, find_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

#: Addresses that are not asked of a host.
_WITHIN = {"about", "blob", "data", "file"}
#: The contexts that each browser has opened, with their options.
_CONTEXTS: "WeakKeyDictionary[Browser, list[tuple[BrowserContext, dict[str, Any]]]]" = WeakKeyDictionary()
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Runs a browser that finds no host but those of loopback. Without Chromium or playwright the test is skipped."""
    program = find_program("chromium", "apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        do_without("playwright is not installed: pip install -e '.[test]'")
    flags = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: "Browser", **options: Any) -> Iterator["Page"]:
    """Opens a page in a context that was made with `options` (viewport, colour scheme, ...).

    At the end it fails if the page has logged an error or a warning, raised one, stored anything, or asked for anything
    beyond loopback and the disk, even if that was refused. Contexts are kept for pages with the same options.
    """
    complaints: list[str] = []

    def hear(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"console {message.type}: {message.text}")

    def look(url: str) -> None:
        if not stays_here(url):
            complaints.append(f"request to {url}")

    context = _context(browser, options)
    page = context.new_page()
    listeners: dict[Any, Callable[[Any], None]] = {
        "console": hear,
        "weberror": lambda error: complaints.append(f"error: {error.error}"),
        "request": lambda request: look(request.url),
    }
    for event, listener in listeners.items():
        context.on(event, listener)
    page.on("websocket", lambda socket: look(socket.url))
    try:
        yield page
        # What the page did before this answer has been heard by then.
        page.evaluate("0")
        state = context.storage_state()
        complaints.extend(f"stored {kind}: {stored}" for kind, stored in state.items() if stored)
        assert not complaints, "\n".join(complaints)
    except BaseException:
        context.close()
        raise
    finally:
        for event, listener in listeners.items():
            context.remove_listener(event, listener)
    # One page stays, empty: without any, the next one would take twice the time.
    if len(context.pages) > 1:
        page.close()
    else:
        page.goto("about:blank")


def _context(browser: "Browser", options: dict[str, Any]) -> "BrowserContext":
    """Returns the open context that was made with these options, or a new one."""
    kept = _CONTEXTS.setdefault(browser, [])
    for context, of in kept:
        if of == options and context in browser.contexts:
            return context
    context = browser.new_context(**options)
    kept.append((context, options))
    return context


def stays_here(url: str) -> bool:
    """Tells whether a page may ask for `url`: it lies on this machine's disk or loopback, or in the page itself."""
    parts = urlsplit(url)
    return parts.scheme in _WITHIN or parts.hostname in _LOOPBACK


def violations(page: "Page", *rules: str) -> list[str]:
    """Returns what axe-core finds wrong with the page as it stands, by all of its rules or by those that are named:
    what is serious or critical, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], **({"runOnly": [*rules]} if rules else {})}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
