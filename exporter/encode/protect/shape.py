"""Gathers the values at plain paths from JSON texts, as fast as they can be decoded.

Only what lies on the paths is decoded, by types that are made for them. A text is left to `leaves.find_leaves` if it is
no strict JSON, has another form, or may have a key on the paths that decoding does not show.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, Raw, UnsetType

from exporter.encode.protect.paths import Step, Target

#: The errors of strict decoding: another form, no JSON, or nesting that is too deep.
REFUSALS: Final = (msgspec.MsgspecError, RecursionError)
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
#: An escape that may stand for a letter, digit or underscore, which no writer of JSON needs.
_ESCAPED_NAME: Final = r"\\u00(?:[4-7]|3[0-9])"

#: A value at a path: its text, or all of the column's.
Value = Raw | memoryview


class _Node(msgspec.Struct, dict=True):
    """Represents a place on the paths: a value that `target` is for, an array, or an object."""

    target: Target | None = None
    element: "_Node | None" = None
    members: dict[str, "_Node"] = msgspec.field(default_factory=dict)

    @cached_property
    def readers(self) -> "list[tuple[Callable[[Any], Any], _Node]]":
        """Returns what takes each member out of a decoded object, and where it leads."""
        return [(attrgetter(f"m{number}"), node) for number, node in enumerate(self.members.values())]

    @property
    def is_plain(self) -> bool:
        """Returns whether only one kind of value is expected here, and below."""
        below = [*self.members.values(), *([] if self.element is None else [self.element])]
        kinds = (self.target is not None) + (self.element is not None) + bool(self.members)
        return kinds == 1 and all(node.is_plain for node in below)

    def type(self) -> Any:
        """Returns the type that a value here is decoded to."""
        if self.target is not None:
            return Raw
        if self.element is not None:
            return list[self.element.type()] | None  # type: ignore[misc]  # made at run time
        fields = [(f"m{number}", node.type() | UnsetType, UNSET) for number, node in enumerate(self.members.values())]
        rename = {f"m{number}": name for number, name in enumerate(self.members)}
        return msgspec.defstruct("OnPath", fields, rename=rename, gc=False) | None


class Shape:
    """Gathers the values that `targets` lead to, whose paths have only names and `[*]`."""

    def __init__(self, root: _Node) -> None:
        self._root = root
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(root.type())
        self._names = _names(root)
        self._quoted = f'"(?:{"|".join(sorted(self._names))})"'

    @classmethod
    def of(cls, targets: Sequence[Target]) -> "Shape | None":
        """Returns what gathers the values of these targets, or None if that cannot be done in this way."""
        root = _Node()
        for target in targets:
            node = root
            for step in target.steps:
                if isinstance(step, str):
                    if _NAME.fullmatch(step) is None:
                        return None
                    node = node.members.setdefault(step, _Node())
                elif step is Step.ELEMENT:
                    node.element = node.element or _Node()
                    node = node.element
                else:
                    return None
            if node.target is not None:
                return None
            node.target = target
        return cls(root) if root.is_plain else None

    def counts(self, column: pa.Array) -> list[int]:
        """Returns, by row, how often the names on the paths stand there in quotes; -1 if they may be spelt with
        escapes, which no search for them would find."""
        if not self._names:
            return [0] * len(column)
        escaped = pc.match_substring_regex(column, _ESCAPED_NAME)
        counts = pc.if_else(escaped, -1, pc.count_substring_regex(column, self._quoted))
        found: list[int] = counts.fill_null(0).to_pylist()
        return found

    def gather(self, text: memoryview, count: int) -> dict[str, list[Value]] | None:
        """Returns the values by the path of their target; None for a text that must be scanned. `count` is of names."""
        if self._root.target is not None:
            return {self._root.target.path: [text]}
        try:
            root = self._decoder.decode(text)
        except REFUSALS:
            return None
        values: dict[str, list[Value]] = {}
        shown = _collect(self._root, [] if root is None else [root], values)
        # If names in quotes appear just as often as decoding shows them, no other key has one.
        return values if shown == count else None


def _names(node: _Node) -> set[str]:
    below = [*node.members.values(), *([] if node.element is None else [node.element])]
    return {*node.members}.union(*map(_names, below))


def _collect(node: _Node, objects: list[Any], values: dict[str, list[Value]]) -> int:
    """Adds the values of these objects, by path; returns how many members with a name on the paths they have."""
    if node.target is not None:
        values[node.target.path] = objects
        return 0
    if node.element is not None:
        return _collect(node.element, list(chain.from_iterable(filter(None, objects))), values)
    if None in objects:
        objects = [value for value in objects if value is not None]
    count = 0
    for read, child in node.readers:
        members = list(map(read, objects))
        if UNSET in members:
            members = [value for value in members if value is not UNSET]
        count += len(members) + _collect(child, members, values)
    return count
