"""Applies the rules of one JSON column: gathers the values of a whole batch, changes them at once, splices them in."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from exporter.encode.protect.actions import Action, Work
from exporter.encode.protect.leaves import Edit, Found, Leaf, find_leaves
from exporter.encode.protect.nested import changed_inside, spliced, texts_inside, texts_of_tokens, tokens_of
from exporter.encode.protect.paths import Routes, Target
from exporter.encode.protect.shape import REFUSALS, Shape, Value
from exporter.encode.protect.tally import Tally
from exporter.encode.protect.values import rounded
from exporter.encode.scan import UnscannableError
from exporter.encode.texts import text_column, texts_of

#: What most values are: a string, or an array of strings, as the content of an item is.
_values: Final = msgspec.json.Decoder(list[str | list[str] | None])
_raws: Final = msgspec.json.Decoder(list[Raw])
_NULL: Final = b"null"

#: The new texts, by those that change.
Changed = Mapping[str, str]
_NOTHING: Final[Changed] = MappingProxyType({})


class _Plain(NamedTuple):
    """Holds the values that one target has in one row, as they are written, and their strings.

    `decoded` is None if every text in the values counts, keys too.
    """

    target: Target
    raws: Sequence[Value]
    decoded: Sequence[str | list[str] | None] | None
    texts: Sequence[str]


class _Gathered(msgspec.Struct):
    """Holds the texts of a batch by the path of their target, and what was found by row: plain values, or leaves.

    `rows` has the row of each text. `inside` has the texts of JSON that lies in strings, by string; None if it cannot
    be read.
    """

    texts: dict[str, list[str]]
    rows: dict[str, list[int]]
    plain: dict[int, list[_Plain]] = msgspec.field(default_factory=dict)
    scanned: dict[int, Found] = msgspec.field(default_factory=dict)
    unreadable: list[int] = msgspec.field(default_factory=list)
    inside: dict[str, list[str] | None] = msgspec.field(default_factory=dict)

    def add(self, row: int, target: Target, texts: Sequence[str]) -> None:
        """Adds the texts of a row, or those of the JSON in them."""
        own = _expanded(target, texts, self.inside)
        self.texts[target.path] += own
        self.rows[target.path] += [row] * len(own)


class JsonRules:
    """Changes the JSON texts of one column as the rules of `targets` say; `actions` has what each does to texts."""

    def __init__(self, column: str, targets: Sequence[Target], actions: Mapping[str, Action], tally: Tally) -> None:
        self._column = column
        self._targets = targets
        self._actions = actions
        self._tally = tally
        self._routes = Routes(targets)
        self._shape = Shape.of(targets)

    def __call__(self, column: pa.Array) -> Work:
        """Changes the column, which is the same if nothing changes. A text that nobody can read becomes null."""
        texts = texts_of(column)
        gathered = self._gather(column, texts)
        old = self._by_action(gathered.texts)
        changed, changed_rows = self._changed(gathered, old, (yield old))
        new: dict[int, bytes | None] = dict.fromkeys(gathered.unreadable)
        for row, found in gathered.scanned.items():
            edits = [edit for leaf in found.leaves if (edit := _leaf_edit(leaf, changed, gathered.inside)) is not None]
            if found.whole:
                new[row] = None
            elif edits or found.edits:
                new[row] = spliced(texts[row], [*found.edits, *edits])
        for row in changed_rows & gathered.plain.keys():
            edits = [
                edit
                for some in gathered.plain[row]
                for edit in _plain_edits(some, texts[row], changed, gathered.inside)
            ]
            if edits:
                new[row] = spliced(texts[row], edits)
        if not new:
            return column
        return text_column([new.get(row, text) for row, text in enumerate(texts)], column.type)

    def _gather(self, column: pa.Array, texts: Sequence[memoryview]) -> _Gathered:
        paths = [target.path for target in self._targets]
        gathered = _Gathered({path: [] for path in paths}, {path: [] for path in paths})
        counts = [0] * len(texts) if self._shape is None else self._shape.counts(column)
        for row, text in enumerate(texts):
            if not text or bytes(text[:5]) == _NULL:
                continue
            plain = None
            if self._shape is not None and counts[row] >= 0:
                plain = self._plain(self._shape.gather(text, counts[row]), gathered.inside)
            if plain is None:
                self._scan(row, bytes(text), gathered)
                continue
            gathered.plain[row] = plain
            for some in plain:
                gathered.add(row, some.target, some.texts)
        return gathered

    def _plain(
        self, values: Mapping[str, Sequence[Value]] | None, inside: dict[str, list[str] | None]
    ) -> list[_Plain] | None:
        """Returns the values of a row with their strings; None if one is of another kind."""
        if values is None:
            return None
        plain: list[_Plain] = []
        for target in self._targets:
            raws = values.get(target.path, ())
            if not raws or target.rule.action == "keep":
                continue
            if target.rule.action in ("drop", "round"):
                return None
            some = _every_text(target, raws) if target.rule.everywhere else _strings(target, raws)
            if some is None:
                return None
            if target.rule.inside == "json":
                _look_inside(some.texts, inside)
                if any(inside[text] is None for text in some.texts):
                    return None
            plain.append(some)
        return plain

    def _scan(self, row: int, text: bytes, gathered: _Gathered) -> None:
        try:
            found = find_leaves(text, self._routes)
        except UnscannableError:
            gathered.unreadable.append(row)
            self._tally.add(odd={self._column: 1})
            return
        gathered.scanned[row] = found
        self._tally.add(reached=found.dropped + found.odd, changed=found.dropped, odd=found.odd)
        for leaf in found.leaves:
            if leaf.target.rule.action == "round":
                self._round(leaf, found)
            if leaf.target.rule.inside == "json":
                _look_inside([leaf.text], gathered.inside)
                if gathered.inside[leaf.text] is None:
                    self._tally.add(odd={leaf.target.path: 1})
            gathered.add(row, leaf.target, [leaf.text])

    def _round(self, leaf: Leaf, found: Found) -> None:
        new = str(rounded(int(leaf.text), leaf.target.rule.to))
        if new != leaf.text:
            found.edits.append(Edit(leaf.start, leaf.end, new.encode()))
            self._tally.add(changed={leaf.target.path: 1})

    def _by_action(self, texts: Mapping[str, Sequence[str]]) -> list[tuple[Action, pa.Array]]:
        """Returns the texts of all paths that have the same action, one path after the other."""
        by_action: dict[Action, list[str]] = {}
        for path, some in texts.items():
            by_action.setdefault(self._actions[path], []).extend(some)
        return [(action, pa.array(some, pa.string())) for action, some in by_action.items()]

    def _changed(
        self, gathered: _Gathered, old: Sequence[tuple[Action, pa.Array]], new: Sequence[pa.Array]
    ) -> tuple[dict[str, Changed], set[int]]:
        """Returns, by path, the new texts of those that change, and the rows that have one."""
        texts = gathered.texts
        changed: dict[str, Changed] = {}
        rows: set[int] = set()
        self._tally.add(reached={path: len(some) for path, some in texts.items()})
        for (action, before), after in zip(old, new, strict=True):
            paths = [path for path in texts if self._actions[path] is action]
            if after is before:
                changed.update(dict.fromkeys(paths, _NOTHING))
                continue
            differs = pc.not_equal(before, after)
            pairs = dict(zip(before.filter(differs).to_pylist(), after.filter(differs).to_pylist(), strict=True))
            start = 0
            for path in paths:
                changed[path] = pairs
                own = differs.slice(start, len(texts[path]))
                self._tally.add(changed={path: own.true_count})
                rows.update(pa.array(gathered.rows[path], pa.int32()).filter(own).to_pylist())
                start += len(own)
        return changed, rows


def _strings(target: Target, raws: Sequence[Value]) -> _Plain | None:
    try:
        decoded = _values.decode(b"[" + b",".join(raws) + b"]")
    except REFUSALS:
        return None
    texts: list[str] = []
    for value in decoded:
        if isinstance(value, list):
            texts += value
        elif value is not None:
            texts.append(value)
    return _Plain(target, raws, decoded, texts)


def _every_text(target: Target, raws: Sequence[Value]) -> _Plain | None:
    tokens = [tokens_of(raw) for raw in raws]
    if None in tokens:
        return None
    return _Plain(target, raws, None, texts_of_tokens([token for some in tokens if some for token in some]))


def _look_inside(texts: Sequence[str], inside: dict[str, list[str] | None]) -> None:
    for text in texts:
        if text not in inside:
            inside[text] = texts_inside(text)


def _expanded(target: Target, texts: Sequence[str], inside: Mapping[str, list[str] | None]) -> Sequence[str]:
    if target.rule.inside != "json":
        return texts
    return [each for text in texts for each in inside[text] or ()]


def _new_text(target: Target, text: str, changed: Changed, inside: Mapping[str, list[str] | None]) -> str | None:
    """Returns what a text becomes, which may be the same; None if it cannot be read."""
    if target.rule.inside != "json":
        return changed.get(text, text)
    texts = inside[text]
    if texts is not None and changed.keys().isdisjoint(texts):
        return text
    return changed_inside(text, changed)


def _leaf_edit(leaf: Leaf, changed: Mapping[str, Changed], inside: Mapping[str, list[str] | None]) -> Edit | None:
    new = _new_text(leaf.target, leaf.text, changed[leaf.target.path], inside)
    return None if new == leaf.text else Edit(leaf.start, leaf.end, msgspec.json.encode(new))


def _plain_edits(
    plain: _Plain, text: memoryview, changed: Mapping[str, Changed], inside: Mapping[str, list[str] | None]
) -> list[Edit]:
    """Returns what replaces the values that change in a row."""
    target = plain.target
    changes = changed[target.path]
    if not changes or changes.keys().isdisjoint(_expanded(target, plain.texts, inside)):
        return []
    start = pa.py_buffer(text).address
    if plain.decoded is None:
        return [
            edit
            for raw in plain.raws
            for leaf in find_leaves(bytes(raw), Routes([Target(target.path, (), target.rule)])).leaves
            if (edit := _leaf_edit(_moved(leaf, _address(raw) - start), changed, inside)) is not None
        ]
    edits: list[Edit] = []
    for raw, value in zip(plain.raws, plain.decoded, strict=True):
        strings = value if isinstance(value, list) else [value]
        if target.rule.inside != "json" and changes.keys().isdisjoint(strings):
            continue
        written_as = _raws.decode(raw) if isinstance(value, list) else [raw]
        for written, old in zip(written_as, strings, strict=True):
            new = None if old is None else _new_text(target, old, changes, inside)
            if new != old:
                position = _address(written) - start
                edits.append(Edit(position, position + len(written), msgspec.json.encode(new)))
    return edits


def _address(value: Value) -> int:
    address: int = pa.py_buffer(value).address
    return address


def _moved(leaf: Leaf, by: int) -> Leaf:
    return Leaf(leaf.target, leaf.start + by, leaf.end + by, leaf.text)
