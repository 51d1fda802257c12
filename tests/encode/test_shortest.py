"""Tests that the size computed from columns is that of the JSON which msgspec writes, and that this is the shortest."""

import json
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import FIELDS, Field, Kind
from exporter.encode.columns import Columns, values_of
from exporter.encode.rows import ServedRow, row_class
from exporter.encode.shortest import count_escapes, least_size
from tests.toolkit.sizes import size_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ['"', "\\", "\0\x1f\x7f", "\b\f\n\r\t/<>&", "é\u2028😀"]
)
AGENTS = st.dictionaries(st.sampled_from(["id", "name"]), st.none() | TEXTS).flatmap(
    lambda known: st.booleans().map(lambda odd: {**known, "new": [1, 2]} if odd else known)
)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.STRING: st.none() | TEXTS,
    Kind.INTEGER: st.none() | st.integers(-(2**63), 2**63 - 1),
    Kind.TIMESTAMP: st.none() | st.just("2026-02-10T05:00:00Z"),
    Kind.AGENT: st.none() | AGENTS,
    Kind.JSON: st.none() | st.dictionaries(TEXTS, st.integers() | TEXTS, max_size=2),
}
#: A few fields of each kind: all that are left out are alike.
DRAWN = [
    field for field in FIELDS if field.name in ("status", "summary", "duration", "updated_at", "agent", "conversation")
]


@st.composite
def pages(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = draw(
        st.lists(st.builds(dict, id=TEXTS, created_at=st.just("2026-02-10T05:00:00Z")), max_size=4)
    )
    drawn = draw(st.lists(st.sampled_from(DRAWN), unique=True))
    for row in rows:
        row |= {field.name: draw(VALUES[field.kind]) for field in drawn if draw(st.integers(0, 3))}
        if draw(st.integers(0, 3)) == 0:
            row["brand \u00e9"] = draw(TEXTS)
    return rows


def decode(body: bytes, asked: list[Field]) -> list[ServedRow]:
    kind = row_class([field.name for field in asked], ["brand \u00e9"], ["new"])
    return msgspec.json.decode(body, type=list[kind])  # type: ignore[valid-type]


def size_of_shortest(rows: list[ServedRow], asked: list[Field]) -> int:
    values = values_of(rows)
    columns = Columns.of(values, asked) if rows else Columns({}, {})
    texts = {name: values[name] for name in ("id", "created_at", "updated_at") if rows and name not in columns.arrays}
    least, some = least_size(rows, values, columns.with_texts(texts))
    return least + count_escapes(some)


@settings(max_examples=size_of(150, 500), deadline=None)
@given(pages(), st.sampled_from([FIELDS, tuple(field for field in FIELDS if field.name != "agent")]))
def test_the_size_is_that_of_the_rows_as_they_are_written(page: list[dict[str, Any]], asked: tuple[Field, ...]) -> None:
    rows = decode(json.dumps(page).encode(), list(asked))
    assert size_of_shortest(rows, list(asked)) == len(msgspec.json.encode(rows))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_no_text_is_written_shorter(text: str, ensure_ascii: bool) -> None:
    assert len(msgspec.json.encode(text)) <= len(json.dumps(text, ensure_ascii=ensure_ascii).encode())


def test_every_character_is_counted_as_it_is_written() -> None:
    # An escape of two bytes is the shortest way to write what cannot stand for itself.
    short = {ord(character): 2 for character in '"\\\b\f\n\r\t'}
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            alone = len(chr(code).encode()) if code >= 0x20 else 6
            assert len(msgspec.json.encode(chr(code))) == 2 + short.get(code, alone)


@pytest.mark.parametrize("code", [*range(0x100), 0x2028, 0x1F3A7])
def test_every_escape_is_counted(code: int) -> None:
    text = chr(code)
    written = len(msgspec.json.encode(text)) - len('""') - len(text.encode())
    assert count_escapes([pa.array([text, None, text])]) == 2 * written
