"""`exporter help`, which shows the manual: its pages are the Markdown files in `exporter/manual`."""

import re
import sys
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Final, NamedTuple

import typer

from exporter.errors import UsageError

_INDEX: Final = "index"
_LINK: Final = re.compile(r"\[([^]]*)\]\(([^)#]*)[^)]*\)")
_NO_MARKUP: Final = str.maketrans("[]", "()")
_SENTENCE: Final = re.compile(r".+?[.!?](?=\s+[^a-z]|$)|.+")


class Page(NamedTuple):
    """Holds a page of the manual: its text, and its line in the list of topics."""

    text: str
    line: str


def folder() -> Traversable:
    """Returns the directory of the pages."""
    return files("exporter") / "manual"


def read_pages(place: Traversable) -> dict[str, Page]:
    """Returns the pages by topic: first those that `index.md` links, in its order, then all others by name."""
    if not place.is_dir():
        return {}
    names = sorted(each.name for each in place.iterdir() if each.name.endswith(".md"))
    texts = {name.removesuffix(".md"): (place / name).read_text(encoding="utf-8") for name in names}
    listed = [target.removesuffix(".md") for _, target in _LINK.findall(texts.pop(_INDEX, ""))]
    order = dict.fromkeys([*(topic for topic in listed if topic in texts), *texts])
    return {topic: Page(texts[topic], _line(texts[topic])) for topic in order}


def _line(text: str) -> str:
    """Returns the first sentence of the first paragraph after the title."""
    _, _, body = text.partition("\n")
    paragraph = " ".join(body.strip().partition("\n\n")[0].split())
    found = _SENTENCE.match(_LINK.sub(r"\1", paragraph))
    return found[0] if found else ""


def _complete(incomplete: str) -> list[tuple[str, str]]:
    # Typer would read a bracket as markup.
    lines = {topic: page.line.translate(_NO_MARKUP) for topic, page in read_pages(folder()).items()}
    return [(topic, line) for topic, line in lines.items() if topic.startswith(incomplete)]


def manual(
    topic: Annotated[
        str | None, typer.Argument(metavar="TOPIC", help="Show this page of the manual.", autocompletion=_complete)
    ] = None,
) -> None:
    """Show a page of the manual, or list its topics."""
    pages = read_pages(folder())
    if topic is None:
        width = max(map(len, pages), default=0)
        lines = [f"  {name:{width}}  {page.line}" for name, page in pages.items()]
        typer.echo("\n".join(["Topics of the manual; exporter help TOPIC shows one:", *lines]))
    elif topic not in pages:
        nearest = "".join(f"; the nearest is {name}" for name in get_close_matches(topic, pages, n=1, cutoff=0))
        raise UsageError(
            f"the manual has no topic {topic!r}{nearest}. exporter help lists all of them, "
            "and exporter COMMAND --help the options of a command"
        )
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(pages[topic].text, hyperlinks=False))
    else:
        typer.echo(pages[topic].text, nl=False)
