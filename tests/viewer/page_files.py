"""Serves the files of the viewer's page to a browser without a server, so that a test can call their functions."""

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exporter.viewer

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

STATIC = Path(exporter.viewer.__file__).parent / "static"
#: Nothing listens there: each request is answered by the test.
_ORIGIN = "http://127.0.0.1:9"

_CALL = """async ([module, name, calls]) => {
  const { [name]: function_ } = await import(module);
  return calls.map((values) => function_(...values));
}"""


def open_files(page: "Page") -> None:
    """Opens an empty page from which the modules of the viewer can be imported."""

    def answer(route: "Route") -> None:
        name = route.request.url.removeprefix(f"{_ORIGIN}/")
        if not name:
            route.fulfill(
                body="<!doctype html><title>Empty</title><link rel=icon href='data:,'>", content_type="text/html"
            )
        else:
            kind, _ = mimetypes.guess_type(name)
            route.fulfill(body=(STATIC / name).read_bytes(), content_type=kind)

    page.route(f"{_ORIGIN}/**", answer)
    page.goto(f"{_ORIGIN}/")


def call(page: "Page", module: str, name: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
    """Returns what a function of a module returns for each list of arguments."""
    found: list[Any] = page.evaluate(_CALL, [f"./{module}.js", name, calls])
    return found
