"""Makes a column of JSON texts, and takes one apart."""

from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import pyarrow as pa
from msgspec import Raw

from exporter.huge import join

_NULL: Final = Raw(b"null")


def text_column(texts: Sequence[Raw | bytes | memoryview | None], arrow_type: pa.DataType) -> pa.Array:
    """Returns a column of strings; None, `null` and nothing become null. The texts must stay below 2 GiB.

    They are copied once: pages are large, and several are encoded at a time.
    """
    nulls = texts.count(_NULL) + texts.count(None)
    if nulls == len(texts):
        return pa.nulls(nulls, arrow_type)
    # No JSON text is empty.
    values: Sequence[Any] = [b"" if text is None or text == _NULL else text for text in texts] if nulls else texts
    lengths = list(map(len, values))
    offsets = array("i", accumulate(lengths, initial=0))
    validity = None if all(lengths) else pa.array(list(map(bool, lengths)), pa.bool_()).buffers()[1]
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(join(values, lengths))]
    return pa.Array.from_buffers(arrow_type, len(values), buffers)


def texts_of(column: pa.Array) -> list[memoryview]:
    """Returns the values of a column of strings, without a copy; null becomes empty, as no JSON text is."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return [memoryview(b"")] * len(column)
    ends = memoryview(offsets).cast("i")[column.offset : column.offset + len(column) + 1]
    whole = memoryview(data)
    return [whole[start:end] for start, end in pairwise(ends)]
