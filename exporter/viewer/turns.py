"""Makes turns to read of the items of a transcript: with their times in the recording, and each call with its result.
Pure.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import ITEM_METRICS, SECOND, format_instant, instant_of
from exporter.viewer.clock import Clock

CALL: Final = "function_call"
OUTPUT: Final = "function_call_output"
_STARTED, _STOPPED = "started_speaking_at", "stopped_speaking_at"
_LATENCIES: Final = tuple(name for name in ITEM_METRICS if name not in (_STARTED, _STOPPED))
#: A time of speech that is further from the conversation than this counts from something else than 1970.
_MOST_SECONDS_APART: Final = 366 * 86_400.0
#: Longer texts are cut, so that a page stays usable.
_MOST_CHARACTERS: Final = 100_000


class Items:
    """Holds the items of a conversation that was created at `created_at`, in seconds since 1970.

    `first` is when the first of them began, and `last` when the last one ended, as far as they tell. System messages
    are not said, and tell nothing. `slowest` is the index of the slowest reply, and its seconds.
    """

    def __init__(self, table: pa.Table, created_at: float) -> None:
        self._table = table
        self.size_bytes: Final[int] = table.nbytes
        self._indexes = pc.cast(table["item_index"], pa.int64())
        began = pc.divide(pc.cast(pc.cast(table["item_created_at"], pa.int64()), pa.float64()), float(SECOND))
        self._created_at = created_at
        started, stopped = self._plausible(table[_STARTED]), self._plausible(table[_STOPPED])
        self._starts = pc.coalesce(started, began)
        spoken = pc.fill_null(pc.is_in(table["role"], pa.array(["user", "assistant"])), False)
        self.first: Final[float | None] = pc.min(pc.filter(self._starts, spoken)).as_py()
        self.last: Final[float | None] = pc.max(pc.filter(pc.coalesce(stopped, self._starts), spoken)).as_py()
        self.slowest: Final = _slowest(table)
        self.total: Final[int] = 0 if not len(table) else pc.max(self._indexes).as_py() + 1
        self._outputs = pair_calls(_called(table))
        self._folded = set(self._outputs.values())

    def _plausible(self, times: pa.ChunkedArray) -> pa.ChunkedArray:
        near = pc.less(pc.abs(pc.subtract(times, self._created_at)), _MOST_SECONDS_APART)
        return pc.if_else(pc.fill_null(near, False), times, pa.scalar(None, pa.float64()))

    def index_at(self, time: float) -> int:
        """Returns the index of the last item that has begun by then; 0 if none has."""
        begun = pc.fill_null(pc.less_equal(self._starts, time), False)
        found: int | None = pc.max(pc.filter(self._indexes, begun)).as_py()
        return found or 0

    def page(self, start: int, limit: int, clock: Clock | None) -> list[dict[str, Any]]:
        """Returns the turns of the items of `[start, start + limit)`. A result is part of its call, wherever it
        stands."""
        rows = self._rows(pc.and_(pc.greater_equal(self._indexes, start), pc.less(self._indexes, start + limit)))
        wanted = [self._outputs[row["item_index"]] for row in rows if row["item_index"] in self._outputs]
        results = {row["item_index"]: row for row in self._rows(pc.is_in(self._indexes, pa.array(wanted, pa.int64())))}
        return [
            self._turn(row, results.get(self._outputs.get(row["item_index"], -1)), clock)
            for row in rows
            if row["item_index"] not in self._folded
        ]

    def _rows(self, mask: pa.ChunkedArray) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._table.filter(mask).to_pylist()
        return rows

    def _turn(self, row: dict[str, Any], result: dict[str, Any] | None, clock: Clock | None) -> dict[str, Any]:
        created = None if row["item_created_at"] is None else instant_of(row["item_created_at"]) / SECOND
        started, stopped = self._near(row[_STARTED]), self._near(row[_STOPPED])
        start = created if started is None else started
        texts = {"text": row["text"], "raw": _raw(row)}
        cut = {name: text if text is None else text[:_MOST_CHARACTERS] for name, text in texts.items()}
        calls = [] if row["type"] not in (CALL, OUTPUT) else [_call(row, result)]
        return {
            "index": row["item_index"],
            "type": row["type"],
            "role": row["role"],
            **cut,
            "at": None if start is None else format_instant(round(start * SECOND)),
            "start_seconds": _since(clock, start),
            "end_seconds": None if start is None or stopped is None or stopped < start else _since(clock, stopped),
            "is_start_estimated": clock is not None and start is not None and (clock.is_estimated or started is None),
            "latency": {name: row[name] for name in _LATENCIES if row[name] is not None},
            "tool_calls": calls,
            "interrupted": row["interrupted"],
            "confidence": row["transcript_confidence"],
            "shortened": cut != texts or any(call.pop("shortened") for call in calls),
        }

    def _near(self, time: float | None) -> float | None:
        return time if time is not None and abs(time - self._created_at) < _MOST_SECONDS_APART else None


def pair_calls(called: Iterable[tuple[int, str | None, str]]) -> dict[int, int]:
    """Returns the index of the result of each call, by the call's own. `called` are the index, type and call id of
    items, in their order; a result belongs to the earliest call of its id before it that has none yet."""
    waiting: dict[str, deque[int]] = defaultdict(deque)
    pairs: dict[int, int] = {}
    for index, kind, call_id in called:
        if kind == CALL:
            waiting[call_id].append(index)
        elif kind == OUTPUT and waiting[call_id]:
            pairs[waiting[call_id].popleft()] = index
    return pairs


def _slowest(table: pa.Table) -> dict[str, Any] | None:
    seconds = pc.max(table["e2e_latency"]).as_py()
    if seconds is None:
        return None
    return {"index": table["item_index"][pc.index(table["e2e_latency"], seconds).as_py()].as_py(), "seconds": seconds}


def _called(table: pa.Table) -> Iterable[tuple[int, str | None, str]]:
    some = table.select(["item_index", "type", "call_id"]).filter(pc.is_valid(table["call_id"]))
    return zip(*(column.to_pylist() for column in some.columns), strict=True)


def _call(row: dict[str, Any], result: dict[str, Any] | None) -> dict[str, Any]:
    """Returns a call with its result, or a result that has no call."""
    answered = row if row["type"] == OUTPUT else result or {}
    begun, ended = row["item_created_at"], answered.get("item_created_at")
    took = None if answered is row or begun is None or ended is None else (ended - begun).total_seconds()
    texts = {"arguments": row["arguments"], "result": answered.get("output")}
    cut = {name: text if text is None else text[:_MOST_CHARACTERS] for name, text in texts.items()}
    return {
        "name": row["tool_name"],
        **cut,
        "error": answered.get("is_error"),
        "seconds": took if took is not None and took >= 0 else None,
        "call_id": row["call_id"],
        "shortened": cut != texts,
    }


def _raw(row: dict[str, Any]) -> str | None:
    """Returns what of an item has no column, as JSON whose values are as they were served; None if all has."""
    kept = {name: row[name] for name in ("content", "other_metrics", "extra") if row[name] is not None}
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in kept.items()) + "}" if kept else None


def _since(clock: Clock | None, time: float | None) -> float | None:
    return None if clock is None or time is None else round(time - clock.starts_at, 3)
