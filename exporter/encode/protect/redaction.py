"""Redacts texts: Arrow's RE2 finds the few of a whole batch that have a hit, and only these are rewritten."""

from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from exporter.encode.protect.checks import CHECKS
from exporter.encode.protect.patterns import BUILT_IN
from exporter.privacy import Pattern

#: They enclose a hit that must be checked. No text has them: they are not characters.
_BEFORE: Final = "\ufdd0"
_AFTER: Final = "\ufdd1"

#: Finds names and the like in texts, and returns the texts with what takes their place.
Recognizer = Callable[[Sequence[str]], list[str]]


class Redactor:
    """Replaces what `patterns` find, in this order. `recognize`, if any, sees the texts after them."""

    def __init__(self, patterns: Sequence[Pattern], recognize: Recognizer | None = None) -> None:
        self._patterns = patterns
        self._recognize = recognize
        self._expressions = _expressions(patterns)

    def __call__(self, texts: pa.Array) -> pa.Array:
        """Returns the texts, redacted; null stays null. Those without a hit are the same."""
        hits = self._hits(texts)
        if not hits.true_count:
            return texts
        made = texts.filter(hits)
        for pattern in self._patterns:
            made = _replaced(made, pattern)
        if self._recognize is not None:
            made = pa.array(self._recognize(made.to_pylist()), texts.type)
        return pc.replace_with_mask(texts, hits, made)

    def _hits(self, texts: pa.Array) -> pa.Array:
        """Returns in which texts something may be found."""
        if self._recognize is not None:
            return texts.is_valid()
        hits = pa.repeat(pa.scalar(False), len(texts))
        for expression in self._expressions:
            hits = pc.or_(hits, pc.match_substring_regex(texts, expression).fill_null(False))
        return hits


def _expressions(patterns: Sequence[Pattern]) -> list[str]:
    """Returns what finds the texts that a pattern has a hit in: all that are built in at once, which fit together in
    RE2's memory, and each other alone, because without that memory RE2 is a hundred times slower."""
    built_in = [pattern.regex for pattern in patterns if pattern in BUILT_IN.values()]
    others = [pattern.regex for pattern in patterns if pattern not in BUILT_IN.values()]
    return [*(["|".join(f"(?:{regex})" for regex in built_in)] if built_in else []), *others]


def _replaced(texts: pa.Array, pattern: Pattern) -> pa.Array:
    hits = pc.match_substring_regex(texts, pattern.regex)
    if not hits.true_count:
        return texts
    check = CHECKS.get(pattern.check)
    if check is None:
        return pc.replace_substring_regex(texts, pattern.regex, pattern.to.replace("\\", "\\\\"))
    some = texts.filter(hits)
    for mark in (_BEFORE, _AFTER):
        some = pc.replace_substring(some, mark, "")
    marked = pc.replace_substring_regex(some, pattern.regex, f"{_BEFORE}\\0{_AFTER}")
    made = [_checked(text, check, pattern.to) for text in marked.to_pylist()]
    return pc.replace_with_mask(texts, hits, pa.array(made, texts.type))


def _checked(marked: str, check: Callable[[str], bool], to: str) -> str:
    first, *rest = marked.split(_BEFORE)
    pieces = [first]
    for piece in rest:
        hit, _, after = piece.partition(_AFTER)
        pieces += (to if check(hit) else hit, after)
    return "".join(pieces)
