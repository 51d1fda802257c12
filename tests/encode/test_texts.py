from collections.abc import Callable
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from exporter.encode.texts import text_column, texts_of

#: Texts as they were served, and as they were taken out of a column.
FORMS: list[Callable[[bytes], Any]] = [Raw, memoryview]
TEXTS = st.none() | st.builds(
    lambda form, text: form(text.encode()), st.sampled_from(FORMS), st.sampled_from(["null", "", "{}", '"null"', '"é"'])
)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_what_is_no_text_becomes_null_and_the_others_stay(texts: list[Any]) -> None:
    served = [None if text is None else bytes(text).decode() for text in texts]
    column = text_column(texts, pa.string())
    column.validate(full=True)
    assert column.to_pylist() == [None if text in ("null", "") else text for text in served]
    assert text_column(texts_of(column), pa.string()).equals(column)
