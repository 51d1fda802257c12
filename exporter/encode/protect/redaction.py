"""Redacts texts: Arrow's RE2 finds the few of a whole batch that may have a hit, and only these are looked at further.

Arrow compiles an expression at each call, which takes milliseconds if it is long. So texts are sorted out by short ones
first, and a pattern is only compiled for texts that have what each of its hits has.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from exporter.encode.protect.checks import CHECKS
from exporter.encode.protect.patterns import BUILT_IN
from exporter.privacy import Pattern

#: They enclose a hit that must be checked. No text has them: they are not characters.
_BEFORE: Final = "\ufdd0"
_AFTER: Final = "\ufdd1"

_SIX_DIGITS: Final = r"\p{Nd}(?:[^\p{Nd}]{0,5}\p{Nd}){5}"
#: What a text has that the built-in pattern of this name has a hit in.
HINTS: Final = {
    "email": "[@＠]",
    "iban": r"(?i)[A-Z]{2}[ -]?[0-9]{2}",
    "ip": r"\p{Nd}\.\p{Nd}{1,3}\.|[0-9A-Fa-f]:[0-9A-Fa-f]*:",
    "ssn": _SIX_DIGITS,
    "phone": _SIX_DIGITS,
    "card": _SIX_DIGITS,
}
#: What a text has that any of these has a hit in.
ANY_HINT: Final = r"[@＠\p{Nd}]|::"

#: Finds names and the like in texts, and returns the texts with what takes their place.
Recognizer: TypeAlias = Callable[[Sequence[str]], list[str]]


class Redactor:
    """Replaces what `patterns` find, in this order. `recognize`, if any, sees the texts after them."""

    def __init__(self, patterns: Sequence[Pattern], recognize: Recognizer | None = None) -> None:
        self._patterns = [(pattern, _hint(pattern)) for pattern in patterns]
        self._recognize = recognize
        hinted = any(hint is not None for _, hint in self._patterns)
        others = [pattern.regex for pattern, hint in self._patterns if hint is None]
        self._first = [*([ANY_HINT] if hinted else []), *others]

    def __call__(self, texts: pa.Array) -> pa.Array:
        """Returns the texts, redacted; null stays null. Those without a hit are the same."""
        candidates = texts.is_valid() if self._recognize is not None else _any_match(texts, self._first)
        if not candidates.true_count:
            return texts
        given = made = texts.filter(candidates)
        for pattern, hint in self._patterns:
            made = _replaced(made, pattern, hint)
        if self._recognize is not None:
            made = pa.array(self._recognize(made.to_pylist()), texts.type)
        return texts if made is given else pc.replace_with_mask(texts, candidates, made)


def _hint(pattern: Pattern) -> str | None:
    return next((HINTS[name] for name, known in BUILT_IN.items() if known == pattern and name in HINTS), None)


def _any_match(texts: pa.Array, expressions: Sequence[str]) -> pa.Array:
    hits = pa.repeat(pa.scalar(False), len(texts))
    for expression in expressions:
        hits = pc.or_(hits, pc.match_substring_regex(texts, expression).fill_null(False))
    return hits


def _replaced(texts: pa.Array, pattern: Pattern, hint: str | None) -> pa.Array:
    """Returns the texts, of which none is null, without the hits of a pattern; the same array if there are none."""
    if hint is not None:
        hinted = pc.match_substring_regex(texts, hint)
        if not hinted.true_count:
            return texts
        some = texts.filter(hinted)
        made = _replaced(some, pattern, None)
        return texts if made is some else pc.replace_with_mask(texts, hinted, made)
    check = CHECKS.get(pattern.check)
    if check is None:
        made = pc.replace_substring_regex(texts, pattern.regex, pattern.to.replace("\\", "\\\\"))
    else:
        plain = texts
        for mark in (_BEFORE, _AFTER):
            plain = pc.replace_substring(plain, mark, "")
        marked = pc.replace_substring_regex(plain, pattern.regex, f"{_BEFORE}\\0{_AFTER}")
        pairs = zip(texts.to_pylist(), marked.to_pylist(), strict=True)
        made = pa.array([_checked(old, new, check, pattern.to) for old, new in pairs], texts.type)
    return texts if made.equals(texts) else made


def _checked(text: str, marked: str, check: Callable[[str], bool], to: str) -> str:
    first, *rest = marked.split(_BEFORE)
    pieces = [first]
    is_hit = False
    for piece in rest:
        hit, _, after = piece.partition(_AFTER)
        holds = check(hit)
        is_hit = is_hit or holds
        pieces += (to if holds else hit, after)
    return "".join(pieces) if is_hit else text
