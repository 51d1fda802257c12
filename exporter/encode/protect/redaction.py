"""Redacts texts: Arrow's RE2 finds the few of a whole batch that may have a hit, and only these are looked at further.

Arrow compiles an expression at each call, which takes milliseconds if it is long. So texts are sorted out by short ones
first, and a pattern is only compiled for texts that have what each of its hits has.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from exporter.encode.protect.checks import CHECKS
from exporter.encode.protect.patterns import BUILT_IN, IBAN_LENGTHS
from exporter.privacy import Pattern

#: They enclose a hit that must be checked. No text has them: they are not characters.
_BEFORE: Final = "\ufdd0"
_AFTER: Final = "\ufdd1"

#: The dot is cheaper to compile than what is no digit.
_SIX_DIGITS: Final = r"(?s)\p{Nd}(?:.{0,5}\p{Nd}){5}"
#: What a text has that the built-in pattern of this name has a hit in.
HINTS: Final = {
    "email": "[@＠]",
    "iban": f"(?i)(?:{'|'.join(IBAN_LENGTHS)})[ -]?[0-9]{{2}}(?:[ -]?[A-Z0-9]){{11}}",
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

    def __call__(self, texts: pa.Array) -> pa.Array:
        """Returns the texts, redacted; null stays null. Those without a hit are the same."""
        may_have = {hint: _matches(texts, hint) for pattern, hint in self._patterns if hint == pattern.regex}
        if any(hint not in may_have for _, hint in self._patterns):
            may_have[ANY_HINT] = _matches(texts, ANY_HINT)
        candidates = texts.is_valid() if self._recognize is not None else _any_of([*may_have.values()], len(texts))
        if not candidates.true_count:
            return texts
        given = made = texts.filter(candidates)
        may_have = {hint: mask.filter(candidates) for hint, mask in may_have.items()}
        for pattern, hint in self._patterns:
            if hint not in may_have:
                may_have[hint] = _matches(given, hint)
            # What a pattern has changed is another text, of which the hints say nothing.
            some = may_have[hint] if made is given else pc.or_(may_have[hint], pc.not_equal(given, made))
            made = _replaced_where(some, made, pattern)
        if self._recognize is not None:
            made = pa.array(self._recognize(made.to_pylist()), texts.type)
        return texts if made is given else pc.replace_with_mask(texts, candidates, made)


def _hint(pattern: Pattern) -> str:
    """Returns the expression that finds all texts in which the pattern may have a hit."""
    return next((HINTS[name] for name, known in BUILT_IN.items() if known == pattern and name in HINTS), pattern.regex)


def _matches(texts: pa.Array, expression: str) -> pa.Array:
    return pc.match_substring_regex(texts, expression).fill_null(False)


def _any_of(masks: Sequence[pa.Array], count: int) -> pa.Array:
    return reduce(pc.or_, masks, pa.repeat(pa.scalar(False), count))


def _replaced_where(mask: pa.Array, texts: pa.Array, pattern: Pattern) -> pa.Array:
    """Returns the texts, of which none is null, without the hits of a pattern where `mask` says that there may be some;
    the same array if there are none."""
    if not mask.true_count:
        return texts
    some = texts.filter(mask)
    made = _replaced(some, pattern)
    return texts if made is some else pc.replace_with_mask(texts, mask, made)


def _replaced(texts: pa.Array, pattern: Pattern) -> pa.Array:
    """Returns the texts, of which none is null, without the hits of a pattern; the same array if there are none."""
    check = CHECKS.get(pattern.check)
    plain = texts
    for mark in (_BEFORE, _AFTER) if check is not None else ():
        plain = pc.replace_substring(plain, mark, "")
    # To replace takes two more expressions, so it is worth to ask first.
    hits = pc.match_substring_regex(plain, pattern.regex)
    if not hits.true_count:
        return texts
    if check is None:
        made = pc.replace_substring_regex(plain.filter(hits), pattern.regex, pattern.to.replace("\\", "\\\\"))
    else:
        marked = pc.replace_substring_regex(plain.filter(hits), pattern.regex, f"{_BEFORE}\\0{_AFTER}")
        pairs = zip(texts.filter(hits).to_pylist(), marked.to_pylist(), strict=True)
        made = pa.array([_checked(old, new, check, pattern.to) for old, new in pairs], texts.type)
    made = pc.replace_with_mask(texts, hits, made)
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
