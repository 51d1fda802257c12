"""Turns a specification of Vega-Lite into an SVG that stands in a page."""

import re
from importlib.util import find_spec
from typing import Final

from exporter.errors import UsageError
from exporter.report.axes import Spec
from exporter.report.charts import HEIGHT, WIDTH
from exporter.report.markup import Markup, element
from exporter.words import install_command

#: What says nothing in a picture that has a description of its own.
_IDLE: Final = re.compile(
    r' (?:class|role|aria-[a-z]+|pointer-events|font-family|stroke-miterlimit|xmlns:xlink)="[^"]*"'
    r'| transform="translate\(0,0\)"| opacity="1"|<path[^>]* d="(?:|M0,0h0v0h0Z)"[^>]*/>|<text[^>]*/>'
)
_EMPTY_GROUP: Final = re.compile(r"<g[^>]*></g>")
_TAG: Final = re.compile(r"<[^>]*>")
_SHAPE: Final = re.compile(r' (?:d|transform)="[^"]*"')
_LONG_NUMBER: Final = re.compile(r"\d+\.\d{3,}(?:e-\d+)?")


def check_installed() -> None:
    """Raises `UsageError` if the package that draws is not installed."""
    if find_spec("vl_convert") is None:
        # All of the extra at once: those that are there stay as they are.
        needed = install_command("duckdb", "fsspec", "vl-convert-python")
        raise UsageError(f"a report needs packages that are not installed. To install them:\n{needed}")


def draw(spec: Spec, description: str) -> Markup:
    """Returns a chart, as wide as its place. `description` says what it shows, for those who do not see it.

    The package that draws must be installed.
    """
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    inner = _TAG.sub(_plain, drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")])
    while (less := _EMPTY_GROUP.sub("", inner)) != inner:
        inner = less
    return element("svg", Markup(inner), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=description)


def _plain(tag: re.Match[str]) -> str:
    """Returns a tag without what says nothing. Texts are not touched: names stand there."""
    return _SHAPE.sub(lambda shape: _LONG_NUMBER.sub(_short, shape[0]), _IDLE.sub("", tag[0]))


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
