"""Texts in JSON that lies in strings are found at any depth, and what surrounds them stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.encode.protect.nested import changed_inside, texts_inside

SOUGHT = "ann@example.com"
ESCAPED = "ann\\u0040example.com"


def redacted(text: str) -> str | None:
    texts = texts_inside(text)
    changed = {each: each.replace(SOUGHT, "[EMAIL]") for each in texts or () if SOUGHT in each}
    return changed_inside(text, changed)


@pytest.mark.parametrize(
    "text",
    [
        f"write to {SOUGHT}",
        f"write to {ESCAPED}",
        json.dumps({"to": SOUGHT}),
        f'{{"to":"{ESCAPED}"}}',
        f'Result: {{"to":"{ESCAPED}"}}',
        f'\ufeff{{"to":"{ESCAPED}"}}',
        json.dumps({"inner": json.dumps({"to": SOUGHT})}),
        json.dumps({"inner": f'{{"to":"{ESCAPED}"}}'}),
        json.dumps({"inner": json.dumps({"deeper": f'{{"to":"{ESCAPED}"}}'})}),
    ],
)
def test_a_value_leaves_in_every_form(text: str) -> None:
    found = redacted(text)
    assert found is not None
    assert "[EMAIL]" in found
    assert SOUGHT not in found
    assert ESCAPED not in found


@given(st.text())
def test_what_has_no_hit_stays(text: str) -> None:
    assert texts_inside(text) is None or changed_inside(text, {}) == text


def test_half_a_character_is_no_error() -> None:
    assert redacted(f"\\ud83d {SOUGHT}") == "\ufffd [EMAIL]"
