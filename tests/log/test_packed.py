"""A column of a checkpoint is what was packed, however large, small or odd its values are."""

from array import array
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.log.packed import Texts, integers_of, pack, texts_of

_EDGES = [1 << bits for bits in (7, 8, 15, 16, 31, 32, 63, 64)]
_INTEGERS = st.integers(-(1 << 66), 1 << 66) | st.sampled_from(
    [sign * edge + beside for edge in _EDGES for sign in (1, -1) for beside in (-1, 0, 1)]
)


@given(st.lists(_INTEGERS) | st.lists(_INTEGERS | st.none()))
def test_integers_are_what_was_packed(values: list[int | None]) -> None:
    packed = pack(values)
    found = integers_of(packed)
    assert [*found] == values
    assert pack(found) == packed
    fit = values and all(value is not None and -(1 << 63) <= value < 1 << 63 for value in values)
    assert isinstance(found, array if fit else list)


@given(st.lists(st.text() | st.sampled_from(["", "\n", "part-0.parquet"])))
def test_texts_are_what_was_packed(values: list[str]) -> None:
    packed: str | list[str] = msgspec.json.decode(msgspec.json.encode(pack(values)), type=str | list[str])
    found: Sequence[str] = texts_of(packed)
    assert (len(found), [*found], found[:2]) == (len(values), values, values[:2])
    assert pack(found) == packed
    assert isinstance(found, Texts if values and not any("\n" in value for value in values) else list)


@pytest.mark.parametrize("packed", ["", "x", "tAAAA", "hAAAA", "bAA", "b\u00e9", "fAAAAAA=="])
def test_what_was_never_packed_is_refused(packed: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        integers_of(packed)
