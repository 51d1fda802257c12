"""Takes the README and the pages of the manual apart, into sections, tables and snippets."""

import io
import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TypeAlias
from unittest.mock import patch

from anyio.from_thread import start_blocking_portal

from exporter.cli import main
from exporter.sandbox import Row, serve

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "exporter/manual"
EXPORTER = Path(sysconfig.get_path("scripts")) / "exporter"

#: The cells of a line of a table that is neither its head nor its rule.
Cells: TypeAlias = list[str]

_SNIPPET = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: A line that calls the exporter, and asks the shell for nothing but to take quotes away and to skip a comment.
_CALL = re.compile(r"exporter (?:[^\s$`\\|&;<>(){}*?\[\]~!#\"']|\"[^\"$`\\]*\"|'[^']*'|[ \t])*(?:\s#.*)?")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """Reads a page in Markdown."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def snippets(self) -> list[tuple[str, str]]:
        """Returns each snippet that names its language, after that language."""
        return [(language, text) for language, text in _SNIPPET.findall(self.text) if language]

    @cached_property
    def prose(self) -> str:
        """Returns the text without its snippets."""
        return _SNIPPET.sub("", self.text)

    @property
    def title(self) -> str:
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def summary(self) -> str:
        """Returns the first sentence of the first paragraph, as far as it stands on one line."""
        line = self.text.split("\n")[2]
        return re.split(r"(?<=\.) (?=\S)", line)[0]

    @property
    def anchors(self) -> set[str]:
        """Returns what a link may name after its `#`: GitHub derives it from each heading."""
        return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in _HEADING.findall(self.prose)}

    def in_language(self, language: str) -> list[str]:
        return [text for named, text in self.snippets if named == language]

    def section(self, title: str) -> str:
        """Returns the text under a heading, without its snippets."""
        found = re.findall(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", self.prose, re.DOTALL | re.MULTILINE)
        (body,) = found
        return str(body)

    def tables_headed(self, first: str) -> list[list[Cells]]:
        """Returns the rows of every table whose first column has this head."""
        return _tables(self.prose, first)

    def table_headed(self, first: str, section: str = "") -> list[Cells]:
        (table,) = _tables(self.section(section) if section else self.prose, first)
        return table

    def command_holding(self, words: str) -> str:
        (command,) = [text for text in self.in_language("sh") if words in text]
        return command

    def keys_of_json(self, what: str) -> list[str]:
        """Returns the keys that the JSON of a command has, as the page lists them."""
        (described,) = re.findall(rf"^The JSON of {what} has .*?\n(?:\n|\Z)", self.text, re.DOTALL | re.MULTILINE)
        return in_code(described)


def _tables(text: str, first: str) -> list[list[Cells]]:
    found = re.findall(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()] for body in found]


README = Page(ROOT / "README.md")
INDEX = Page(MANUAL / "index.md")
#: Every page of the manual except its index, by name.
PAGES = {path.stem: Page(path) for path in sorted(MANUAL.glob("*.md")) if path != INDEX.path}
ALL = [README, *PAGES.values()]


#: All pages but those whose queries and programs are run by tests of their own.
TOGETHER = [page for page in ALL if page.name != "object-stores"]


def snippets_in(language: str, pages: Sequence[Page] = ALL) -> list[str]:
    """Returns every snippet of a language once, whatever its page."""
    return list(dict.fromkeys(chain(*(page.in_language(language) for page in pages))))


#: Statements for warehouses, which the tests of their pages parse, or run one after the other.
WAREHOUSE = [*PAGES["changes"].in_language("sql"), *PAGES["warehouses"].in_language("sql")]
#: Those that `exporter sql` answers are run by the tests of its page.
ASKED = PAGES["sql"].in_language("sql")
QUERIES = [
    text
    for text in snippets_in("sql", TOGETHER)
    if not text.startswith(("INSERT", "PRAGMA")) and text not in (*WAREHOUSE, *ASKED)
]
#: Those that need a key are run by the tests of their page.
PROGRAMS = [text for text in snippets_in("python", TOGETHER) if "data.key" not in text]


def in_code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def names_in(text: str) -> frozenset[str]:
    """Returns the options that a text names."""
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


def help_of(command: str) -> dict[str, str]:
    """Returns the help of each option of a command, by the names and the type that it begins with."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main([*command.split(), "--help"]) == 0
    sections = re.split(r"\n(?=\S)", printed.getvalue())
    blocks = [block for section in sections for block in re.split(r"\n(?=  -)", section)[1:]]
    return {" ".join(block.split(maxsplit=3)[:3]): " ".join(block.split()) for block in blocks}


def defaults_in(options: dict[str, str]) -> dict[frozenset[str], str]:
    """Returns the default of each option in the help, by its names."""
    found = {}
    for head, text in options.items():
        default = re.search(r" Default: (.+?)\.$", text)
        found[names_in(head)] = default[1] if default else ""
    return found


def run_shell(command: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the manual with the exporter that is installed here.

    Lines of which each does no more than call the exporter are run in this process, which starts no shell and loads no
    modules again; anything else is run by a shell.
    """
    lines = [line for line in command.splitlines() if line.strip()]
    if not all(map(_CALL.fullmatch, lines)):
        return start_shell(command, directory, **variables)
    with chdir(directory), patch.dict(os.environ, _environment(variables), clear=True):
        return _call(command, [shlex.split(line, comments=True)[1:] for line in lines])


def start_shell(command: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the manual in a shell; `run_shell` is quicker where libraries need no process of their own."""
    return subprocess.run(
        ["sh", "-euc", command.replace(".venv/bin/exporter", shlex.quote(str(EXPORTER)))],
        cwd=directory,
        env=_environment(variables),
        capture_output=True,
        text=True,
        timeout=300,
    )


def _environment(variables: dict[str, str]) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANYREACH_")}
    return {**environment, "PATH": f"{EXPORTER.parent}{os.pathsep}{environment['PATH']}", **variables}


def _call(command: str, calls: list[list[str]]) -> subprocess.CompletedProcess[str]:
    """Calls the exporter with each of these arguments, up to the first that fails, as a shell does."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    status = 0
    with redirect_stdout(out), redirect_stderr(err):
        for arguments in calls:
            if status := main(arguments):
                break
    printed = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(command, status, *printed)


@contextmanager
def serving(rows: list[Row]) -> Iterator[str]:
    """Yields the address of a server with these conversations."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(rows)) as sandbox:
        yield sandbox.url
