"""Makes a column of JSON texts."""

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import pyarrow as pa
from msgspec import Raw

_NULL: Final = Raw(b"null")


def text_column(texts: Sequence[Raw | None], arrow_type: pa.DataType) -> pa.Array:
    """Returns a column of strings; None and `null` become null. The texts must stay below 2 GiB.

    They are copied once: pages are large, and several are encoded at a time.
    """
    # No JSON text is empty.
    values = [b"" if text is None or text == _NULL else text for text in texts]
    lengths = list(map(len, values))
    offsets = array("i", accumulate(lengths, initial=0))
    validity = None if all(lengths) else pa.array(list(map(bool, lengths)), pa.bool_()).buffers()[1]
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(arrow_type, len(values), buffers)
