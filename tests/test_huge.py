import mmap
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from exporter import huge

#: Texts as they come, in JSON and out of a column, whose bytes are signed.
FORMS: list[Callable[[bytes], Any]] = [bytes, Raw, memoryview, lambda text: memoryview(pa.py_buffer(text))]
PIECES = st.lists(st.builds(lambda form, text: form(text), st.sampled_from(FORMS), st.binary(max_size=9)), max_size=6)


def joined(pieces: list[Any]) -> bytes | memoryview:
    return huge.join(pieces, list(map(len, pieces)))


@settings(deadline=None, max_examples=30)
@given(PIECES, st.sampled_from((0, 2**20, 3 * 2**19, 2**21, 7 * 2**19, 2**22)), st.integers(-1, 1))
def test_large_and_small_texts_are_joined_alike(pieces: list[Any], size: int, beyond: int) -> None:
    filler = bytes(repeat(7, max(0, size - sum(map(len, pieces)) + beyond)))
    whole = joined([*pieces, filler])
    assert bytes(whole) == b"".join([*pieces, filler])
    assert isinstance(whole, bytes) == (len(whole) < 2**20)


def test_a_system_without_huge_pages_has_the_same_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [bytes(2**21), b"1"]
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")
    assert joined(pieces) == b"".join(pieces)
    assert isinstance(joined(pieces), bytes)


def test_the_memory_outlives_whatever_gave_it() -> None:
    kept = [pa.py_buffer(joined([bytes([number]) * 2**21, b"1"])) for number in range(4)]
    assert [buffer.to_pybytes() for buffer in kept] == [bytes([number]) * 2**21 + b"1" for number in range(4)]
