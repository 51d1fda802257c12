import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.encode.scan import NotRowsError, UnscannableError, scan_object, scan_page

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=4), st.sampled_from([None, 0, 2]))
def test_spans_are_those_of_the_rows_and_members(rows: list[dict[str, object]], indent: int | None) -> None:
    scanned = scan_page(json.dumps(rows, indent=indent).encode())
    assert [repr(json.loads(row.text)) for row in scanned] == [repr(json.loads(json.dumps(row))) for row in rows]
    for row, served in zip(scanned, rows, strict=True):
        assert row.members is not None
        members = {json.loads(key): repr(json.loads(text)) for key, text in row.members}
        assert members == {name: repr(json.loads(json.dumps(value))) for name, value in served.items()}
        assert row.members == scan_object(row.text)


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=3), min_size=1, max_size=2), st.data()
)
def test_no_cut_text_is_ever_taken(rows: list[dict[str, object]], data: st.DataObject) -> None:
    body = json.dumps(rows).encode()
    with pytest.raises(UnscannableError):
        scan_page(body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.binary(max_size=40))
def test_any_bytes_are_scanned_or_refused(body: bytes) -> None:
    for text in (body, b"[{" + body, b'[{"a":' + body + b"}]"):
        try:
            rows = scan_page(text)
        except (UnscannableError, NotRowsError):
            continue
        assert all(row.text in text for row in rows)


def test_nesting_has_no_limit() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    [row] = scan_page(b'[{"a":' + deep + b"}]")
    assert row.members == [(b'"a"', deep)]
    with pytest.raises(UnscannableError):
        scan_page(b'[{"a":' + deep[:-1] + b"}]")
