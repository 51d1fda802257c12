"""Finds, in one JSON text, the values that rules are for, and what must be cut out of it.

The text may be anything that readers have been seen to take: with duplicate keys, `NaN`, broken escapes, and nested
ever so deep. What a rule cannot read is cut out.
"""

import re
from collections import Counter
from typing import Final, NamedTuple

import msgspec

from exporter.encode.exact import read_name, read_string
from exporter.encode.protect.paths import NOWHERE, Routes, States, Target
from exporter.encode.scan import UnscannableError

STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION: Final = re.compile(rb"[.eE]")
_TOKEN: Final = re.compile(
    rb"(" + STRING + rb")|([\[{])|([\]}])|([:,])|([^\x00-\x20\[\]{}:,\"]++)|[ \t\r\n]++|(.)", re.DOTALL
)
_TEXT, _OPEN, _CLOSE, _MARK, _BARE, _WRONG = range(1, 7)
#: Values that hold nothing of a person: what a rule for all texts leaves as they are.
_WORDS: Final = frozenset((b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"))
#: What takes the place of a key that cannot be read.
_NO_KEY: Final = b'"[WITHHELD]"'

#: The actions that take the digits of a JSON number as a text.
_OF_NUMBERS: Final = frozenset(("hash", "mask", "redact", "round"))


class Edit(NamedTuple):
    """Replaces a span of a text."""

    start: int
    end: int
    text: bytes


class Leaf(msgspec.Struct, frozen=True):
    """Holds a string, number or key that the rule of `target` is for, and its span."""

    target: Target
    start: int
    end: int
    text: str


class Found(msgspec.Struct):
    """Holds what a text has for the rules. `edits` cut out what is dropped; `whole` says that nothing is left."""

    leaves: list[Leaf] = msgspec.field(default_factory=list)
    edits: list[Edit] = msgspec.field(default_factory=list)
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    odd: Counter[str] = msgspec.field(default_factory=Counter)
    whole: bool = False


class _Frame(msgspec.Struct):
    """Holds an open array or object: where the paths are in it, and the spans of its members so far."""

    start: int
    is_object: bool
    states: States
    is_dropped: bool
    expected: str
    inside: States = NOWHERE
    key_start: int = 0
    members: list[tuple[int, int]] = msgspec.field(default_factory=list)
    gone: set[int] = msgspec.field(default_factory=set)


def find_leaves(text: bytes, routes: Routes) -> Found:
    """Returns what the text of one JSON value has for the rules. Raises `UnscannableError`."""
    return _Scan(text, routes).run()


class _Scan:
    def __init__(self, text: bytes, routes: Routes) -> None:
        self._text = text
        self._routes = routes
        self._found = Found()
        self._frames: list[_Frame] = []
        self._is_over = False

    def run(self) -> Found:
        for token in _TOKEN.finditer(self._text):
            kind = token.lastindex
            if kind is None:
                continue
            start, end = token.span()
            frame = self._frames[-1] if self._frames else None
            if self._is_over or kind == _WRONG:
                raise UnscannableError("something that is no JSON")
            if kind == _CLOSE:
                self._close(start, end)
            elif frame is not None and frame.expected in ("key", "key or end"):
                if kind != _TEXT:
                    raise UnscannableError("no key where there must be one")
                self._key(frame, start, end)
            elif kind == _MARK:
                self._mark(frame, self._text[start:end])
            elif frame is not None and frame.expected not in ("value", "value or end"):
                raise UnscannableError("a value where there must be none")
            else:
                states = self._routes.start if frame is None else frame.inside
                if kind == _OPEN:
                    self._open(start, states)
                else:
                    self._end(start, end, drop=not self._scalar(kind == _TEXT, start, end, states))
        if not self._is_over:
            raise UnscannableError("cut short")
        return self._found

    def _key(self, frame: _Frame, start: int, end: int) -> None:
        frame.key_start, frame.expected = start, "colon"
        if not frame.states:
            return
        key = self._text[start:end]
        target = self._routes.target(frame.states)
        try:
            name = read_name(key)[0]
        except ValueError:
            name = ""
        if target is not None and target.rule.everywhere and not self._leaf(target, start, end, is_number=False):
            self._found.edits.append(Edit(start, end, _NO_KEY))
        frame.inside = self._routes.member(frame.states, name)

    def _mark(self, frame: _Frame | None, mark: bytes) -> None:
        if frame is not None and mark == b":" and frame.expected == "colon":
            frame.expected = "value"
        elif frame is not None and mark == b"," and frame.expected == "comma or end":
            frame.expected = "key" if frame.is_object else "value"
        else:
            raise UnscannableError("a comma or colon where there must be none")

    def _open(self, start: int, states: States) -> None:
        is_object = self._text[start] == 0x7B
        target = self._routes.target(states)
        drop = self._is_in_the_way(target, states, is_object)
        if target is not None and target.rule.action != "keep":
            drop = target.rule.action == "drop" or (is_object and not target.is_deep)
            if drop:
                self._count_gone(target)
        states = NOWHERE if drop else states
        frame = _Frame(start, is_object, states, drop, "key or end" if is_object else "value or end")
        frame.inside = NOWHERE if is_object else self._routes.element(states)
        self._frames.append(frame)

    def _close(self, start: int, end: int) -> None:
        frame = self._frames.pop() if self._frames else None
        if frame is None or frame.expected not in ("key or end", "value or end", "comma or end"):
            raise UnscannableError("a bracket where there must be none")
        if (self._text[start] == 0x7D) != frame.is_object:
            raise UnscannableError("brackets do not match")
        if frame.gone:
            self._cut(frame)
        self._end(frame.start, end, drop=frame.is_dropped)

    def _end(self, start: int, end: int, *, drop: bool) -> None:
        """Notes that a value is over."""
        if not self._frames:
            self._is_over, self._found.whole = True, drop
            return
        frame = self._frames[-1]
        frame.expected = "comma or end"
        if frame.is_object:
            frame.members.append((frame.key_start, end))
            if drop:
                frame.gone.add(len(frame.members) - 1)
        elif drop:
            self._found.edits.append(Edit(start, end, b"null"))

    def _cut(self, frame: _Frame) -> None:
        """Cuts out members, each with the comma before it, or the one after it if none before it stays."""
        is_first = True
        for number, (start, end) in enumerate(frame.members):
            if number not in frame.gone:
                is_first = False
            elif not is_first:
                self._found.edits.append(Edit(frame.members[number - 1][1], end, b""))
            elif number + 1 < len(frame.members):
                self._found.edits.append(Edit(start, frame.members[number + 1][0], b""))
            else:
                self._found.edits.append(Edit(start, end, b""))

    def _scalar(self, is_string: bool, start: int, end: int, states: States) -> bool:
        """Notes a value that is neither array nor object; returns whether it may stay."""
        target = self._routes.target(states)
        if target is None or target.rule.action == "keep":
            return self._text[start:end] == b"null" or not self._is_in_the_way(target, states, None)
        token = b"" if is_string else self._text[start:end]
        if target.rule.action == "drop":
            self._count_gone(target)
            return False
        if is_string and target.rule.action != "round":
            return self._leaf(target, start, end, is_number=False)
        expression = INTEGER if target.rule.action == "round" else NUMBER
        if target.rule.action == "redact" and NUMBER.fullmatch(token) and _FRACTION.search(token):
            # It is a time or a measure: numbers of telephones and cards are whole.
            return True
        if not is_string and target.rule.action in _OF_NUMBERS and expression.fullmatch(token):
            return self._leaf(target, start, end, is_number=True)
        if token == b"null" or (token in _WORDS and target.is_deep):
            return True
        self._count_gone(target)
        return False

    def _is_in_the_way(self, target: Target | None, states: States, is_object: bool | None) -> bool:
        """Returns whether paths lead on from a value that is nothing of the kind, and no rule is for the value itself.
        `is_object` is None for what is no array either."""
        wanted = self._routes.wanted(states)
        if target is not None or not wanted or (is_object is not None and is_object in wanted):
            return False
        self._found.odd[min(wanted.values())] += 1
        return True

    def _leaf(self, target: Target, start: int, end: int, *, is_number: bool) -> bool:
        token = self._text[start:end]
        try:
            text = token.decode() if is_number else read_string(token)
        except ValueError:
            self._found.odd[target.path] += 1
            return False
        self._found.leaves.append(Leaf(target, start, end, text))
        return True

    def _count_gone(self, target: Target) -> None:
        counts = self._found.dropped if target.rule.action == "drop" else self._found.odd
        counts[target.path] += 1
