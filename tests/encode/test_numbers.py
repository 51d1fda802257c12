from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from exporter.encode.numbers import parse_integer, parse_integers

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(st.lists(st.none() | INT64), st.sampled_from(["", ".0", ".000", "e0", "E+0"]))
def test_a_column_of_integers_is_exact_however_written(values: list[int | None], tail: str) -> None:
    texts = [None if value is None else f"{value}{tail}".encode() for value in values]
    assert parse_integers([None if text is None else Raw(text) for text in texts]).to_pylist() == values


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=3) | st.integers().map(Decimal))
def test_a_number_is_an_integer_of_64_bits_or_refused(number: Decimal) -> None:
    fits = number == number.to_integral_value() and -(2**63) <= number < 2**63
    try:
        value = parse_integer(format(number, "f").encode())
    except ValueError:
        assert not fits
    else:
        assert fits
        assert value == number


def test_null_is_null() -> None:
    assert parse_integers([Raw(b"null"), None, Raw(b"5.0")]).to_pylist() == [None, None, 5]


@pytest.mark.parametrize("text", [b'"5"', b"true", b"NaN", b"Infinity", b"[5]", b"{}", b"1e9999999999", b"5."])
def test_what_is_no_number_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_integers([Raw(b"1"), Raw(text)])


@pytest.mark.parametrize("text", [b"0x1F", b"007", b"+5", b" 5", b"1_0", b""])
def test_what_json_does_not_take_for_a_number_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_integer(text)
