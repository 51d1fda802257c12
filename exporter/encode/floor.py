"""Takes out of rows what has expired: below the floor of a field, no row has a value of it."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import Instant
from exporter.encode.rows import Misfit

_TIME: Final = "created_at"


def without_values(batch: pa.RecordBatch, floors: Mapping[str, Instant]) -> pa.RecordBatch:
    """Returns conversations with null in each column of `floors`, where they were created before its floor."""
    if not floors or not batch.num_rows:
        return batch
    times = batch.column(_TIME).cast(pa.int64())
    for place, column in enumerate(batch.schema):
        floor = floors.get(column.name)
        if floor is None:
            continue
        below = pc.less(times, floor)
        if below.true_count:
            nothing = pa.nulls(batch.num_rows, column.type)
            kept = nothing if below.true_count == len(below) else pc.if_else(below, nothing, batch.column(place))
            batch = batch.set_column(place, column, kept)
    return batch


def have_values(batch: pa.RecordBatch, floors: Mapping[str, Instant]) -> pa.BooleanArray:
    """Says of each conversation whether `without_values` takes anything out of it."""
    found = pa.array([False] * batch.num_rows, pa.bool_())
    times = batch.column(_TIME).cast(pa.int64())
    for name in floors.keys() & batch.schema.names:
        found = pc.or_(found, pc.and_(pc.less(times, floors[name]), batch.column(name).is_valid()))
    return found


def without_members(text: bytes, names: Collection[str]) -> bytes:
    """Returns a row, as it was served, without these members; nothing if it is no JSON object, and may hold them."""
    try:
        row = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return b""
    left: dict[str, Any] = {name: value for name, value in row.items() if name not in names}
    return text if len(left) == len(row) else msgspec.json.encode(left)


def cut_misfit(misfit: Misfit, floors: Mapping[str, Instant]) -> Misfit:
    """Returns a misfit as quarantine may hold it: without the fields whose floor it lies below."""
    names = [name for name, floor in floors.items() if misfit.created_at < floor]
    text = without_members(misfit.text, names) if names else misfit.text
    return misfit if text is misfit.text else Misfit(misfit.id, misfit.created_at, misfit.reason, text)
