"""The header `Range` gives the bytes that RFC 9110 says, and what is no range of bytes gives all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.viewer.ranges import range_of


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", range(1)),
        ("bytes=0-", range(100)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=90-900", range(90, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-900", range(100)),
        ("bytes=-0", range(100, 100)),
        ("bytes=100-", range(100, 100)),
        ("BYTES = 1-2 ", range(1, 3)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=1-9999999999999999999999", None),
        ("bytes=٣-٤", None),
    ],
)
def test_a_header_asks_for_these_bytes_of_a_hundred(header: str | None, expected: range | None) -> None:
    assert range_of(header, 100) == expected


@given(st.text() | st.from_regex(r"bytes=\d{0,20}-\d{0,20}", fullmatch=True), st.integers(0, 10**12))
def test_no_range_leads_out_of_a_file(header: str, size: int) -> None:
    found = range_of(header, size)
    assert found is None or not found or 0 <= found.start < found.stop <= size
