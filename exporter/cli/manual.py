"""`exporter help`, which shows the manual: its pages are the Markdown files in `exporter/manual`."""

import os
import re
import shutil
import sys
import textwrap
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Final, NamedTuple

import typer

from exporter.cli.about import ABOUT
from exporter.cli.flags import switch
from exporter.errors import UsageError
from exporter.options.option import Group
from exporter.words import did_you_mean

_INDEX: Final = "index"
_LIST: Final = "topics"
#: Words that people look for, each with the page that answers, and its section if that is not all of it.
ALIASES: Final[dict[str, tuple[str, str]]] = {
    "anonymization": ("privacy", ""),
    "cluster": ("scale-out", ""),
    "dask": ("ray", "Dask, or any other engine"),
    "dates": ("options", "Times"),
    "durations": ("options", "Durations"),
    "engines": ("scale-out", ""),
    "env": ("options", "Environment variables"),
    "environment": ("options", "Environment variables"),
    "exit-codes": ("exit-statuses", ""),
    "exit-status": ("exit-statuses", ""),
    "filters": ("options", "Filters"),
    "gdpr": ("privacy", ""),
    "install": ("start", "Install"),
    "json": ("export", "What a run prints"),
    "pii": ("privacy", ""),
    "processes": ("scale-out", "More processes"),
    "progress": ("export", "What a run prints"),
    "pseudonymization": ("privacy", "The policy"),
    "redaction": ("policy", "Patterns"),
    "retention": ("expire", ""),
    "times": ("options", "Times"),
    "unproven": ("exit-statuses", "Status 3 of an export or a sync"),
    "variables": ("options", "Environment variables"),
}
_LINK: Final = re.compile(r"\[([^]]*)\]\(([^)#]*)[^)]*\)")
_PAGE_LINK: Final = re.compile(r"\[([^]]*)\]\(([a-z-]+)\.md(?:#[^)]*)?\)")
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


def section_of(text: str, title: str) -> str:
    """Returns the section of a page with this title, with all that is below it; the whole page for an empty title."""
    if not title:
        return text
    found = re.search(rf"^## {re.escape(title)}\n(?:(?!## ).*\n?)*", text, re.MULTILINE)
    return found[0] if found else text


def read_table(topic: str, head: str) -> list[tuple[str, str]]:
    """Returns the first two cells of each row of the tables, on a page, whose first column has this head."""
    page = read_pages(folder()).get(topic)
    expression = rf"^\| {re.escape(head)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)"
    tables = re.findall(expression, page.text if page else "", re.MULTILINE)
    rows = [line.replace("`", "").split(" | ") for line in "".join(tables).splitlines()]
    return [(name.strip("| "), text.strip("| ")) for name, text, *_ in rows]


def _complete(incomplete: str) -> list[tuple[str, str]]:
    # Typer would read a bracket as markup.
    lines = {topic: page.line.translate(_NO_MARKUP) for topic, page in read_pages(folder()).items()}
    lines |= {command: f"The options of exporter {command}." for command in ABOUT if command not in lines}
    return [(topic, line) for topic, line in lines.items() if topic.startswith(incomplete)]


def manual(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC", help="Show this page of the manual, or this command.", autocompletion=_complete
        ),
    ] = None,
    everything: Annotated[bool, switch("--all", "Show every page of the manual.", Group.DONE)] = False,
) -> None:
    """Show a topic of the manual, or the options of a command and its page; without TOPIC, list the topics."""
    pages = read_pages(folder())
    root = context.find_root()
    group: Any = root.command
    if everything:
        if topic is not None:
            raise UsageError(f"--all shows every page: leave {topic} out")
        _show("\n".join(page.text for page in pages.values()))
    elif topic in (None, _LIST):
        width = max(map(len, pages), default=0)
        lines = [f"  {name:{width}}  {page.line}" for name, page in pages.items()]
        also = textwrap.wrap(f"Also: {', '.join(ALIASES)}.", 80)
        _show("", "\n".join(["Topics of the manual; exporter help TOPIC shows one:", *lines, *also, ""]))
    elif topic in ABOUT:
        _, command, _ = group.resolve_command(root, [topic])
        inner = command.make_context(topic, [], parent=root, resilient_parsing=True)
        page = pages.get(ABOUT[topic].topic)
        _show(page.text if page else "", inner.get_help() + "\n\n")
    elif topic in pages:
        _show(pages[topic].text)
    elif topic in ALIASES:
        name, title = ALIASES[topic]
        more = f"\nMore: exporter help {name}\n" if title else ""
        _show(section_of(pages[name].text, title).rstrip("\n") + "\n" + more if name in pages else "")
    else:
        near = did_you_mean(topic, [*pages, *ABOUT, *ALIASES]) or " exporter help lists the topics"
        raise UsageError(f"the manual has no topic {topic!r}.{near}")


def _show(text: str, before: str = "") -> None:
    """Prints Markdown, after lines that are none: rendered on a terminal, and as it is otherwise."""
    if not sys.stdout.isatty():
        typer.echo(before + text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    with console.capture() as captured:
        console.print(Markdown(_PAGE_LINK.sub(r"\1 (`exporter help \2`)", text), hyperlinks=False))
    _page(before + captured.get())


def _page(text: str) -> None:
    """Prints a text through the user's pager if it is longer than the screen."""
    if text.count("\n") < shutil.get_terminal_size().lines:
        typer.echo(text, nl=False)
        return
    import shlex
    import signal
    import subprocess

    # Ctrl-C is for the pager, which takes it for the end of a search.
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pager = shlex.split(os.environ.get("PAGER", "less"))
        # The user's own program, by the user's own choice.
        subprocess.run(pager, input=text, text=True, env={"LESS": "FRX", **os.environ}, check=False)  # noqa: S603
    except (OSError, ValueError, IndexError):
        typer.echo(text, nl=False)
    finally:
        signal.signal(signal.SIGINT, heeded)
