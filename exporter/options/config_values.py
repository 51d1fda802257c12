"""Reads single values of a config file (`exporter help config`): variables in texts, and the kind that a key takes."""

import re
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from msgspec.structs import replace

from exporter.options.toml import Node
from exporter.words import any_of

#: The variable that is the name of the entry itself.
OWN_NAME: Final = "NAME"
_DOLLAR: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?", re.ASCII)
_ONE_VARIABLE: Final = re.compile(r"\$\{(?!NAME\})[A-Za-z_][A-Za-z0-9_]*\}", re.ASCII)
#: In a path, such a word is the name of a file.
_TOKEN: Final = re.compile(r"(?<![\w/.-])(?:ak|pat)_[\w.-]{16}", re.ASCII)
_KIND_WORDS: Final[dict[Any, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: "a time",
    Path: "a text",
    Mapping: "a table",
    Sequence: "a list of texts",
}


@dataclass(frozen=True, slots=True)
class Variables:
    """Replaces the variables of texts: `${NAME}` by the name of the entry, any other by that of the environment."""

    name: str
    environment: Mapping[str, str]

    def text(self, node: Node) -> str:
        """Returns a text with its variables replaced. Raises `UsageError` for one that is not set, or is empty."""

        def replaced(found: re.Match[str]) -> str:
            name = found["name"]
            if name is None:
                return "$"
            value = self.name if name == OWN_NAME else self.environment.get(name, "")
            if not value:
                raise node.error(f"the environment variable {name} is not set, or is empty")
            return value

        return _DOLLAR.sub(replaced, node.text())

    def value(self, node: Node) -> Any:
        """Returns a value with the variables of all texts in it replaced. Raises as `text`."""
        match node.value:
            case str():
                return self.text(node)
            case list():
                return [self.value(each) for each in node.items()]
            case dict():
                return {key: self.value(each) for key, each in node.members().items()}
        return node.value

    def known_in(self, node: Node) -> bool:
        """Returns whether every variable of a value is set."""
        return all(name == OWN_NAME or self.environment.get(name) for name in variables_in(node))


def variables_in(node: Node) -> Iterator[str]:
    """Yields the variables that the texts of a value name."""
    for text in _texts_in(node):
        yield from (found["name"] for found in _DOLLAR.finditer(text.value) if found["name"])


def check_texts(node: Node) -> None:
    """Raises `UsageError` for a dollar that begins no variable, and for what looks like a token, in any text."""
    for text in _texts_in(node):
        if "\0" in text.value:
            raise text.error("must not hold a NUL character")
        if _TOKEN.search(text.value):
            raise text.error("holds what looks like a token, which never stands in this file")
        for found in _DOLLAR.finditer(text.value):
            if found.lastgroup is None:
                raise text.error("write a variable as ${VARIABLE}, and a dollar as $$")


def check_token(node: Node) -> None:
    """Raises `UsageError`, which does not show it, for a token that is not one variable."""
    if not _ONE_VARIABLE.fullmatch(node.text()):
        raise node.error('a token never stands in this file. Write token = "${VARIABLE}", or name a token_file')


def check_value(node: Node, hint: Any, *, is_open: bool = False) -> None:
    """Raises `UsageError` for a value of another kind than `hint` names. `is_open` says that a variable in it has yet
    to be replaced."""
    members = [each for each in _members(hint) if each is not types.NoneType]
    choices = [choice for each in members if get_origin(each) is Literal for choice in get_args(each)]
    if choices:
        if not (is_open and isinstance(node.value, str)):
            node.choice(choices)
        return
    kinds = tuple(get_origin(each) or each for each in members)
    if not _is_one_of(node.value, kinds):
        words = dict.fromkeys(_KIND_WORDS[kind] for kind in kinds if kind is not int or float not in kinds)
        raise node.error(f"must be {any_of(list(words))}, and is {node.kind}")
    if isinstance(node.value, str):
        node.text()
    elif isinstance(node.value, list):
        for each in node.items():
            each.text()
    elif isinstance(node.value, dict):
        _check_inside(node)


def _check_inside(node: Node) -> None:
    for each in _leaves_of(node):
        if isinstance(each.value, date | time):
            raise each.error("in a table, a time is written as a text")


def absolute(node: Node, text: str) -> str:
    """Returns a path that a file names, which is relative to the directory of that file. Raises `UsageError`."""
    if text.startswith("~"):
        raise node.error("~ means nothing here: write ${HOME}")
    return str(node.document.path.parent / text)


def is_path(hint: Any) -> bool:
    """Returns whether a key takes a path."""
    return Path in _members(hint)


def with_value(node: Node, value: Any) -> Node:
    """Returns the same place with another value."""
    return replace(node, value=value)


def _members(hint: Any) -> Collection[Any]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_one_of(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, dict):
        return Mapping in kinds
    if isinstance(value, list):
        return Sequence in kinds
    return isinstance(value, tuple(kind for kind in kinds if kind is not Sequence)) or (
        isinstance(value, str) and Path in kinds
    )


def _texts_in(node: Node) -> Iterator[Node]:
    return (each for each in _leaves_of(node) if isinstance(each.value, str))


def _leaves_of(node: Node) -> Iterator[Node]:
    if isinstance(node.value, dict | list):
        for each in node.members().values() if isinstance(node.value, dict) else node.items():
            yield from _leaves_of(each)
    else:
        yield node
