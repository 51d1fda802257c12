"""Tests that rows make the same batch, whether their columns came with their page or are made of the rows."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.encode.batch import Encoder
from exporter.encode.columns import PageRows
from exporter.encode.decode import Decoder
from exporter.encode.rows import EncodeRow
from exporter.model import Rows
from tests.toolkit.sizes import size_of

MEMBERS: dict[str, Sequence[Any]] = {
    "status": ["failed", None, "\U0001f3a7"],
    "summary": ["grün", "plain", None],
    "organization_id": ["org_1", "org_2", None],
    "duration": [7, 7.0, None, 2**63 - 1],
    "agent": [{"id": "g", "name": "Bot"}, {"name": None}, {}, None, {"id": "g", "new": 1}],
    "conversation": [{"items": []}, None],
    "updated_at": ["2026-02-10T05:00:00Z", None],
    "new": [1],
}
#: These make a page that is read field by field, with a row that fits no column.
ODD = [{"duration": 1.5}, {"status": 5}]


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(st.sampled_from(list(MEMBERS)), unique=True))
    rows = []
    for number in range(draw(st.integers(0, 4))):
        row = {"id": f"{number}", "created_at": "2026-02-10T05:00:00Z"}
        rows.append(row | {name: draw(st.sampled_from(MEMBERS[name])) for name in names if draw(st.integers(0, 2))})
    if rows and draw(st.integers(0, 5)) == 0:
        rows[-1] |= draw(st.sampled_from(ODD))
    return json.dumps(rows, ensure_ascii=draw(st.booleans()), separators=(",", ":")).encode()


def plain(rows: Rows[EncodeRow]) -> Rows[EncodeRow]:
    return Rows(list(rows.rows), rows.created_at, rows.updated_at)


@settings(max_examples=size_of(60, 200), deadline=None)
@given(st.lists(pages(), max_size=3), st.data())
def test_pages_that_are_cut_and_joined_make_the_batch_that_their_rows_make(
    bodies: list[bytes], data: st.DataObject
) -> None:
    decoder, encoder = Decoder(None), Encoder(None)
    rows: Rows[EncodeRow] = Rows()
    for body in bodies:
        page = decoder.decode(body).page.rows
        start, end = sorted(data.draw(st.tuples(st.integers(0, 5), st.integers(0, 5))))
        cut = page[start:end]
        rows += plain(cut) if data.draw(st.booleans()) else cut
    rows = rows[data.draw(st.integers(0, 3)) :]
    assert encoder.encode(rows) == encoder.encode(plain(rows))


def test_rows_keep_the_columns_of_their_page_until_they_are_encoded() -> None:
    body = json.dumps([{"id": str(number), "created_at": "2026-02-10T05:00:00Z"} for number in range(5)]).encode()
    first, second = (Decoder(None).decode(body).page.rows for _ in range(2))
    rows = (plain(first[:1]) + first[1:4] + second)[:7]
    assert isinstance(rows.rows, PageRows)
    assert [(count, columns is not None) for count, columns in rows.rows.stretches] == [
        (1, False),
        (3, True),
        (3, True),
    ]
    assert Encoder(None).encode(rows).batch["id"].to_pylist() == ["0", "1", "2", "3", "0", "1", "2"]
