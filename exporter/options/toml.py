"""Reads TOML so that every mistake has its line and column; Python's own reader has them for syntax alone."""

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from datetime import time
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from exporter.errors import UsageError
from exporter.words import any_of, did_you_mean

Place: TypeAlias = tuple[str | int, ...]

MOST_BYTES: Final = 262_144
_MOST_DEPTH: Final = 32
_TOO_DEEP: Final = "a number is too long, or values are nested too deeply"
_SYNTAX: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''  # strings
    r"|[ \t\n]+|\#[^\n]*|[\[\]{}=,.]|[^\s\[\]{}=,.#\"\']+",
    re.DOTALL,
)
#: A number with a unit, as in 7d, 1.5h or 64MiB, up to the first letter of that.
_UNQUOTED: Final = re.compile(r"=\s*[0-9][0-9_.]*[A-Za-z]$", re.ASCII)
#: Python's reader takes all memory for a key with very many dots.
_DOTTED: Final = re.compile(r"(?<![\w-])(?:[\w-]++[ \t]*\.[ \t]*){64}")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class Document(msgspec.Struct, frozen=True):
    """Holds the places of a file: where each key and item begins. `dotted` are keys behind the dot of another."""

    path: Path
    positions: dict[Place, tuple[int, int]]
    dotted: frozenset[Place]

    def error(self, place: Place, what: str) -> UsageError:
        """Returns an error about a place, or about the nearest around it that the text has."""
        known = next((place[:size] for size in range(len(place), 0, -1) if place[:size] in self.positions), None)
        line, column = self.positions[known] if known else (1, 1)
        name = f"{name_of(place)}: " if place else ""
        return UsageError(f"{self.path}:{line}:{column}: {name}{what}")


class Node(msgspec.Struct, frozen=True):
    """Represents a value of a document. Each method that returns it as a kind raises `UsageError` for another one."""

    document: Document
    place: Place
    value: Any

    def error(self, what: str) -> UsageError:
        return self.document.error(self.place, what)

    @property
    def kind(self) -> str:
        """Returns the kind of the value in words."""
        words = {dict: "a table", list: "a list", str: "a text", bool: "true or false", time: "a time of day"}
        return words.get(type(self.value), "a number" if isinstance(self.value, int | float) else "a time")

    def members(self, what: str = "a table") -> dict[str, "Node"]:
        """Returns the members of a table, by key."""
        if not isinstance(self.value, dict):
            raise self.error(f"must be {what}, and is {self.kind}")
        return {key: Node(self.document, (*self.place, key), value) for key, value in self.value.items()}

    def table(self, known: Collection[str], needed: Sequence[str] = (), what: str = "a table") -> dict[str, "Node"]:
        """Returns the members of a table that has no others than the `known` ones, and all that are `needed`."""
        members = self.members(what)
        for key, member in members.items():
            if key not in known:
                near = did_you_mean(key, known) or f" The keys here are {', '.join(known)}"
                raise member.error(f"there is no such key.{near}")
        if missing := [key for key in needed if key not in members]:
            raise self.error(f"{missing[0]} is missing here")
        return members

    def text(self) -> str:
        """Returns a text that is not empty."""
        if not isinstance(self.value, str):
            raise self.error(f"must be a text, and is {self.kind}")
        if not self.value:
            raise self.error("must not be empty")
        return self.value

    def items(self) -> list["Node"]:
        """Returns the items of an array."""
        if not isinstance(self.value, list):
            raise self.error(f"must be a list, and is {self.kind}")
        return [Node(self.document, (*self.place, index), value) for index, value in enumerate(self.value)]

    def number(self, least: int, most: int) -> int:
        """Returns a whole number from `least` to `most`."""
        if isinstance(self.value, int) and not isinstance(self.value, bool) and least <= self.value <= most:
            return self.value
        raise self.error(f"must be a whole number from {least} to {most}")

    def flag(self) -> bool:
        """Returns true or false."""
        if not isinstance(self.value, bool):
            raise self.error(f"must be true or false, and is {self.kind}")
        return self.value

    def choice(self, choices: Sequence[str]) -> str:
        """Returns one of the `choices`."""
        if self.value in choices:
            return str(self.value)
        near = did_you_mean(self.value, choices) if isinstance(self.value, str) else ""
        raise self.error(f"must be {any_of([json.dumps(each) for each in choices])}.{near}".rstrip("."))


def name_of(place: Place) -> str:
    """Returns a place as TOML writes it: `conversations."agent.name".keep`."""
    name = ""
    for part in place:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            shown = part if _BARE.fullmatch(part) else f'"{part}"' if part.isprintable() else repr(part)
            name += f".{shown}" if name else shown
    return name


def read_toml(path: Path, content: bytes | None = None) -> Node:
    """Returns the root of a TOML file, or of the `content` that it had when that was read.

    Raises `UsageError`, for a file that is too large or no TOML also.
    """
    import tomllib

    text = _text_of(path, read_content(path) if content is None else content)
    if _DOTTED.search(text):
        raise UsageError(f"{path}: {_TOO_DEEP}")
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{path}: {_TOO_DEEP}") from error
    scan = _Scan(text)
    try:
        scan.run()
    except RecursionError as error:
        raise UsageError(f"{path}: {_TOO_DEEP}") from error
    return Node(Document(path, scan.positions, frozenset(scan.dotted)), (), value)


def read_content(path: Path) -> bytes:
    """Returns what a file holds. Raises `UsageError`, for a file that is too large also."""
    try:
        if path.exists() and not path.is_file():
            # Otherwise a pipe that nobody writes to would be waited for in silence.
            raise UsageError(f"{path}: not a regular file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path}: larger than {MOST_BYTES // 1024} KiB, which no such file needs")
    return content


def _text_of(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise UsageError(f"{path}:{line}:{column}: not UTF-8, as TOML must be") from error


def _syntax_error(path: Path, text: str, message: str) -> UsageError:
    match = _SYNTAX.fullmatch(message)
    what = match[1] if match else message
    if match and match[2]:
        line, column = int(match[2]), int(match[3])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    start = text.split("\n")[line - 1][:column]
    advice = ". Write such a value in quotes" if _UNQUOTED.search(start) else ""
    return UsageError(f"{path}:{line}:{column}: not TOML: {what[:1].lower()}{what[1:]}{advice}")


class _Scan:
    """Finds where keys and items begin, in a text that is known to be TOML."""

    def __init__(self, text: str) -> None:
        self.positions: dict[Place, tuple[int, int]] = {}
        self.dotted: set[Place] = set()
        self._text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._tokens = list(_tokens(text))
        self._next = 0
        self._arrays: dict[Place, int] = {}

    def run(self) -> None:
        table: Place = ()
        while (sign := self._skip()) is not None:
            if sign != "[":
                self._pair(table)
                continue
            is_array = self._text.startswith("[[", self._at())
            self._next += 1 + is_array
            table = self._key((), is_header=True)
            self._next += 1 + is_array
            if is_array:
                self._arrays[table] = self._arrays.get(table, -1) + 1
                table = (*table, self._arrays[table])

    def _skip(self) -> str | None:
        """Returns the next token that is neither space nor a comment, without taking it."""
        while self._next < len(self._tokens):
            token = self._tokens[self._next][1]
            if token[0] not in " \t\n#":
                return token
            self._next += 1
        return None

    def _at(self) -> int:
        return self._tokens[self._next][0]

    def _mark(self, place: Place) -> None:
        if len(place) > _MOST_DEPTH:
            raise RecursionError
        line = bisect_right(self._lines, self._at())
        self.positions.setdefault(place, (line, self._at() - self._lines[line - 1] + 1))

    def _key(self, table: Place, *, is_header: bool = False) -> Place:
        import tomllib

        place, is_behind = table, False
        while (sign := self._skip()) not in (None, "=", "]"):
            if sign != ".":
                part = next(iter(tomllib.loads(f"{sign} = 0")))
                place = (*place, part)
                self._mark(place)
                if is_behind and not is_header:
                    self.dotted.add(place)
                if is_header and place in self._arrays:
                    place = (*place, self._arrays[place])
                is_behind = True
            self._next += 1
        return place if not is_header or not isinstance(place[-1], int) else place[:-1]

    def _pair(self, table: Place) -> None:
        place = self._key(table)
        self._next += 1
        self._value(place)

    def _value(self, place: Place) -> None:
        sign, index = self._skip(), 0
        if sign not in ("[", "{"):
            self._scalar()
            return
        self._next += 1
        while (inner := self._skip()) not in (None, "]", "}"):
            if inner == ",":
                self._next += 1
            elif sign == "{":
                self._pair(place)
            else:
                self._mark((*place, index))
                self._value((*place, index))
                index += 1
        self._next += 1

    def _scalar(self) -> None:
        # A number may have a dot in it, and a time a space.
        while self._next < len(self._tokens):
            token = self._tokens[self._next][1]
            if token[0] in ",]}#" or ("\n" in token and not token.strip()):
                return
            self._next += 1


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    return ((match.start(), match[0]) for match in _TOKEN.finditer(text))
