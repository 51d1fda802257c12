"""Encodes transcripts to the table `turns`: a row for each item, made from the rows of the table `conversations`.

Whatever writes conversations writes their turns from the same rows, so that the tables never disagree. A transcript is
decoded whole if all of its items fit, and member by member if one does not.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from operator import attrgetter
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw
from msgspec.structs import astuple

from exporter.contract import ITEM_METRICS, TRANSCRIPT_FIELD
from exporter.encode.items import Beside, Item, Metrics, Transcript, item_class, read_item, read_items
from exporter.encode.protect.protector import Protector
from exporter.encode.rows import are_learnable
from exporter.encode.schema import turns_schema
from exporter.encode.texts import texts_of

#: The attributes of an `Item` that have a column, by column.
_PLAIN: Final = {
    "item_id": ("id", pa.string()),
    "type": ("type", pa.string()),
    "role": ("role", pa.string()),
    "interrupted": ("interrupted", pa.bool_()),
    "transcript_confidence": ("transcript_confidence", pa.float64()),
    "item_created_at": ("created_at", pa.float64()),
    "call_id": ("call_id", pa.string()),
    "tool_name": ("name", pa.string()),
    "arguments": ("arguments", pa.string()),
    "output": ("output", pa.string()),
    "is_error": ("is_error", pa.bool_()),
}
_READ_PLAIN: Final = {column: (attrgetter(attribute), kind) for column, (attribute, kind) in _PLAIN.items()}
_METRICS: Final = pa.struct([(name, pa.float64()) for name in ITEM_METRICS])
_metrics_of: Final = attrgetter(*ITEM_METRICS)
_BESIDE: Final = pa.struct([(name, pa.string()) for name in ("content", "other_metrics", "extra")])

_MICROSECONDS_A_SECOND: Final = 1e6

#: The errors of strict decoding: a value of another type or an unknown member, no JSON, or nesting that is too deep.
_REFUSALS: Final = (msgspec.MsgspecError, RecursionError)
_plain: Final = msgspec.json.Decoder(Transcript[Item])
_item_texts: Final = msgspec.json.Decoder(Transcript[Raw])
_members: Final = msgspec.json.Decoder(dict[str, Raw])
_ITEM_NAMES: Final = frozenset(Item.__struct_fields__)
_METRIC_NAMES: Final = frozenset(Metrics.__struct_fields__)


class TurnsEncoder:
    """Makes the turns of one run. It learns unknown members as they come, so that they stay cheap.

    The rows have been protected before; `protector` applies the rules for the columns of turns.

    At most `bytes_at_once` of transcript text is decoded into objects at a time: these stay in the processor's cache,
    and cost hardly any memory. A larger transcript becomes columns about this much at a time.
    """

    def __init__(self, protector: Protector | None = None, *, bytes_at_once: int = 1024 * 1024) -> None:
        self.schema: Final = turns_schema()
        self._protector = protector
        self._bytes_at_once = bytes_at_once
        self._unknown: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._item: msgspec.json.Decoder[Item] = msgspec.json.Decoder(Item)
        self._transcript = _plain

    def encode(self, conversations: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yields the turns of these rows, which have `id`, `created_at` and `conversation`, in the same order: those of
        one conversation lie together, in the order of the transcript. No batch is empty. This cannot fail."""
        texts = texts_of(conversations.column(TRANSCRIPT_FIELD))
        start = size = 0
        for position, text in enumerate(texts, start=1):
            size += len(text)
            if size >= self._bytes_at_once or position == len(texts):
                yield from self._encode(conversations.slice(start, position - start), texts[start:position])
                start, size = position, 0

    def _encode(self, conversations: pa.RecordBatch, texts: Sequence[memoryview]) -> Iterator[pa.RecordBatch]:
        transcripts: list[Sequence[Item]] = []
        odd: list[int] = []
        for position, text in enumerate(texts):
            try:
                transcripts.append(_plain.decode(text).items if text else ())
            except _REFUSALS:
                transcripts.append(self._decode(text))
                odd.append(position)
        beside = _beside(transcripts, odd)
        whose, indexes = _places(list(map(len, transcripts)))
        items = deque(chain.from_iterable(transcripts))
        transcripts.clear()
        step = -(-len(items) // max(1, sum(map(len, texts)) // self._bytes_at_once))
        for start in range(0, len(items), step or 1):
            # They are taken out, so that items that have become columns need no memory while these are written.
            some = [items.popleft() for _ in range(min(step, len(items)))]
            places = whose.slice(start, step), indexes.slice(start, step)
            columns = self._columns(conversations, some, *places, beside[start : start + step] if beside else None)
            some.clear()
            batch = pa.RecordBatch.from_arrays([columns.pop(name) for name in self.schema.names], schema=self.schema)
            yield batch if self._protector is None else self._protector.protect_turns(batch)

    def _columns(
        self,
        conversations: pa.RecordBatch,
        items: Sequence[Item],
        whose: pa.Array,
        indexes: pa.Array,
        beside: Sequence[Beside | None] | None,
    ) -> dict[str, pa.Array]:
        columns = {
            "conversation_id": conversations.column("id").take(whose),
            "conversation_created_at": conversations.column("created_at").take(whose),
            "item_index": indexes,
            "text": pa.array(_joined(items), pa.string()),
            **{column: pa.array(list(map(read, items)), kind) for column, (read, kind) in _READ_PLAIN.items()},
            **_metrics_columns(items),
            **_beside_columns(beside, len(items)),
        }
        columns["item_created_at"] = _times(columns["item_created_at"])
        return columns

    def _decode(self, text: memoryview) -> Sequence[Item]:
        """Returns the items of a transcript with unknown members, or with items that do not fit."""
        with suppress(*_REFUSALS):
            return self._transcript.decode(text).items
        try:
            texts = _item_texts.decode(text).items
        except _REFUSALS:
            return read_items(bytes(text))
        items = list(map(self._decode_item, texts))
        # An item that could be decoded has no member that is still unknown.
        self._learn_names([text for text, item in zip(texts, items, strict=True) if item is None])
        return [item or read_item(bytes(text)) for item, text in zip(items, texts, strict=True)]

    def _decode_item(self, text: Raw) -> Item | None:
        """Returns the item, or None if it has unknown members or does not fit."""
        try:
            return self._item.decode(text)
        except _REFUSALS:
            return None

    def _learn_names(self, texts: Sequence[Raw]) -> None:
        """Notes unknown members, so that the next transcripts that have them are decoded whole."""
        names: set[str] = set()
        names_in_metrics: set[str] = set()
        for text in texts:
            with suppress(*_REFUSALS):
                item = _members.decode(text)
                names |= item.keys()
                names_in_metrics |= _members.decode(item.get("metrics", b"{}")).keys()
        unknown = (self._unknown[0] | (names - _ITEM_NAMES), self._unknown[1] | (names_in_metrics - _METRIC_NAMES))
        if unknown != self._unknown and are_learnable(*unknown):
            item_type = item_class(*unknown)
            self._unknown = unknown
            self._item = msgspec.json.Decoder(item_type)
            self._transcript = msgspec.json.Decoder(Transcript[item_type])  # type: ignore[valid-type]  # made at run time


def _places(counts: Sequence[int]) -> tuple[pa.Array, pa.Array]:
    """Returns, for each item, its transcript and its position in it. `counts` are the numbers of items of each."""
    starts = pa.array(accumulate(counts, initial=0), pa.int32())
    items = pa.nulls(starts[-1].as_py())
    whose = pc.list_parent_indices(pa.ListArray.from_arrays(starts, items)).cast(pa.int32())
    positions = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int32()), len(items)), start=-1)
    return whose, pc.subtract(positions, starts.take(whose))


def _joined(items: Sequence[Item]) -> list[str | None]:
    return [
        content[0] if type(content) is list and len(content) == 1 else _text_of(content)
        for content in map(attrgetter("content"), items)
    ]


def _text_of(content: list[str] | str | None) -> str | None:
    return content if content is None or type(content) is str else "\n".join(content) if content else None


def _metrics_columns(items: Sequence[Item]) -> dict[str, pa.Array]:
    rows = [
        None if metrics is None else astuple(metrics) if type(metrics) is Metrics else _metrics_of(metrics)
        for metrics in map(attrgetter("metrics"), items)
    ]
    return dict(zip(ITEM_METRICS, pa.array(rows, _METRICS).flatten(), strict=True))


def _beside(transcripts: Sequence[Sequence[Item]], odd: Sequence[int]) -> list[Beside | None] | None:
    """Returns what items have beside their columns, or None if none has anything; only `odd` transcripts may."""
    if not odd:
        return None
    starts = list(accumulate(map(len, transcripts), initial=0))
    rows: list[Beside | None] = [None] * starts[-1]
    for position in odd:
        rows[starts[position] : starts[position + 1]] = [item.beside() for item in transcripts[position]]
    return rows


def _beside_columns(rows: Sequence[Beside | None] | None, count: int) -> dict[str, pa.Array]:
    if rows is None:
        return {name: pa.nulls(count, pa.string()) for name in _BESIDE.names}
    return dict(zip(_BESIDE.names, pa.array(rows, _BESIDE).flatten(), strict=True))


def _times(seconds: pa.Array) -> pa.Array:
    """Returns the times of seconds since 1970, to the microsecond."""
    return pc.round(pc.multiply(seconds, _MICROSECONDS_A_SECOND)).cast(pa.int64()).cast(pa.timestamp("us", tz="UTC"))
