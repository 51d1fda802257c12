import re
from collections.abc import Sequence
from random import Random
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from exporter.encode.protect.checks import CHECKS, is_card, is_iban, is_phone
from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.redaction import HINTS, Redactor, _replaced
from exporter.privacy import Pattern

CHECKED: Final = [name for name, pattern in BUILT_IN.items() if pattern.check != "none"]
PIECES: Final = [
    *"0123456789 -+().,/@:٢２\n", "４１５", "415 555 0100", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00",
    "2026-01-15", " and ", "GB", "fe80:", "::1", "10.0.0.1", "de89",
    "\u00a0", "\u2011", "call", "a.b@example.org", "\ufdd0", "😀",
]  # fmt: skip


def _redacted(names: list[str], texts: Sequence[str | None]) -> list[str | None]:
    made: list[str | None] = Redactor([BUILT_IN[name] for name in names])(pa.array(texts, pa.string())).to_pylist()
    return made


@pytest.mark.parametrize("name", CHECKED)
def test_random_texts_are_redacted_as_by_the_expressions_of_python(name: str) -> None:
    pattern, random = BUILT_IN[name], Random(name)
    texts = ["".join(random.choices(PIECES, k=random.randint(1, 14))).replace("\ufdd0", "") for _ in range(20_000)]
    expression = re.compile(pattern.regex.replace(r"\p{Nd}", r"\d"))
    check = CHECKS[pattern.check]
    expected = [expression.sub(lambda hit: pattern.to if check(hit[0]) else hit[0], text) for text in texts]
    assert _redacted([name], texts) == expected
    assert sum(old != new for old, new in zip(texts, expected, strict=True)) > 100


@pytest.mark.parametrize("name", HINTS)
def test_no_text_with_a_hit_is_sorted_out_beforehand(name: str) -> None:
    random = Random(name)
    texts = pa.array(["".join(random.choices(PIECES, k=random.randint(1, 14))) for _ in range(20_000)])
    made = _replaced(texts, BUILT_IN[name])
    assert pc.not_equal(texts, made).true_count > 20
    assert Redactor([BUILT_IN[name]])(texts).equals(made)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("call 415 555 0100 or (0207) 946-0000", "call [PHONE] or [PHONE]"),
        ("２０７ ５５５ ０１００", "[PHONE]"),
        ("on 2026-01-15 at 10:00", "on 2026-01-15 at 10:00"),
        ("2026-01-15 415 555 0100", "[PHONE]"),
        ("207 555 0100 207 555 0199", "[PHONE]"),
        ("4111 1111 1111 1111", "[CARD]"),
        ("DE89 3704 0044 0532 0130 00", "[IBAN]"),
        ("a.b@example.org, then", "[EMAIL], then"),
        ("five five five oh one nine nine", "[DIGITS]"),
        ("order 12345", "order 12345"),
        ("", ""),
        (None, None),
    ],
)
def test_all_patterns_together(text: str | None, redacted: str | None) -> None:
    assert _redacted([*BUILT_IN], [text]) == [redacted]


def test_a_batch_without_a_hit_is_the_same_array() -> None:
    texts = pa.array(["hello", None, ""])
    assert Redactor([*BUILT_IN.values()])(texts) is texts


def test_a_placeholder_is_no_expression() -> None:
    assert Redactor([Pattern(regex="x", to=r"\0\\[X]")])(pa.array(["axb"])).to_pylist() == [r"a\0\\[X]b"]


def test_a_text_with_the_marks_of_a_hit_is_redacted_like_any_other() -> None:
    assert _redacted(["phone"], ["\ufdd0415 555 0100\ufdd1"]) == ["[PHONE]"]


@pytest.mark.parametrize(
    ("check", "hit", "holds"),
    [
        (is_card, "4111-1111-1111-1111", True),
        (is_card, "4111-1111-1111-1112", False),
        (is_card, "٤١١١ ١١١١ ١١١١ ١١١١", True),
        (is_iban, "gb82 west 1234 5698 7654 32", True),
        (is_iban, "GB82 WEST 1234 5698 7654 33", False),
        (is_phone, "123456", False),
        (is_phone, "1234567", True),
        (is_phone, "2026-01-15 10", False),
        (is_phone, "20260115", False),
        (is_phone, "4111 1111 1111 1111", False),
        (is_phone, "4111 1111 1111 1112", True),
    ],
)
def test_a_check(check: object, hit: str, holds: bool) -> None:
    assert callable(check) and check(hit) is holds
