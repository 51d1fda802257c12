"""Reads the items of a transcript from their JSON text: decoded whole, or put together member by member.

A member that has no column, or does not fit its own, is kept as its JSON text, so that no item is lost whatever it
holds. If a key appears twice, the last one counts.
"""

import re
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from exporter.contract import BEGINNING, END_OF_TIME, ITEM_METRICS, SECOND
from exporter.encode.exact import read_name, read_string
from exporter.encode.rows import OpenObject, object_text, open_class
from exporter.encode.scan import scan_array, scan_object

#: The JSON texts of content that is not text alone, of metrics without a column, and of everything else.
Beside: TypeAlias = tuple[bytes | None, bytes | None, bytes | None]

ItemT = TypeVar("ItemT")

_LEAST_TIME: Final = BEGINNING // SECOND
_MOST_TIME: Final = END_OF_TIME // SECOND - 1
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Metrics(OpenObject, kw_only=True, forbid_unknown_fields=True):
    """Holds `contract.ITEM_METRICS`, in seconds."""

    started_speaking_at: float | None = None
    stopped_speaking_at: float | None = None
    transcription_delay: float | None = None
    end_of_turn_delay: float | None = None
    on_user_turn_completed_delay: float | None = None
    llm_node_ttft: float | None = None
    tts_node_ttfb: float | None = None
    e2e_latency: float | None = None


class Item(OpenObject, kw_only=True, forbid_unknown_fields=True):
    """Represents an item that fits, under the names of the API. `created_at` is seconds since 1970."""

    id: str | None = None
    type: str | None = None
    role: str | None = None
    content: list[str] | str | None = None
    interrupted: bool | None = None
    transcript_confidence: float | None = None
    created_at: Annotated[float, Meta(ge=_LEAST_TIME, le=_MOST_TIME)] | None = None
    metrics: Metrics | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None
    is_error: bool | None = None

    def beside(self) -> Beside:
        """Returns what has no column of its own."""
        metrics = None if self.metrics is None else object_text(self.metrics.unknown_members())
        return None, metrics, object_text(self.unknown_members())


class ExactItem(Item, kw_only=True):
    """Represents an item that was put together member by member. `content` is at most one string."""

    texts: Beside = (None, None, None)

    def beside(self) -> Beside:
        return self.texts


class Transcript(msgspec.Struct, Generic[ItemT], gc=False):
    """Holds the items of a conversation; everything else of it is in the conversation alone."""

    items: list[ItemT]


def item_class(unknown: Iterable[str], unknown_in_metrics: Iterable[str]) -> type[Item]:
    """Returns the class of items that may also have these members."""
    metrics = open_class("Metrics", Metrics, [], sorted(unknown_in_metrics))
    made: type[Item] = open_class("Item", Item, [("metrics", metrics | None, None)], sorted(unknown))
    return made


def read_items(text: bytes) -> list[Item]:
    """Returns the items of any transcript; one of an unknown form becomes a single item that is kept whole."""
    try:
        members = _members(text)
    except ValueError:
        return [_kept_whole(text)]
    _, items = members.pop("items", (b"", b"null"))
    if items.startswith(b"["):
        return [read_item(item) for item in scan_array(items)]
    return [_kept_whole(text)] if members or items != b"null" else []


def _kept_whole(text: bytes) -> Item:
    return ExactItem(texts=(None, None, text))


def read_item(text: bytes) -> Item:
    """Returns any JSON value as an item; one that is not an object is kept whole."""
    try:
        members = _members(text)
    except ValueError:
        return _kept_whole(text)
    values: dict[str, Any] = {}
    left: dict[bytes, bytes] = {}
    content = other_metrics = None
    for name, (key, member) in members.items():
        try:
            if name == "content":
                values[name], content = _content(member)
            elif name == "metrics":
                values[name], other_metrics = _metrics(member)
            else:
                values[name] = _READERS[name](member)
        except (KeyError, ValueError):
            left[key] = member
    return ExactItem(**values, texts=(content, other_metrics, object_text(left)))


def _members(text: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Returns, by name, the canonical key and the value. Raises `ValueError` for a text that is not an object."""
    if not text.startswith(b"{"):
        raise ValueError("not an object")
    members = {}
    for key, value in scan_object(text):
        name, canonical = read_name(key)
        members[name] = canonical, value
    return members


def _content(text: bytes) -> tuple[str | None, bytes | None]:
    """Returns the texts in it, joined, and all of it unless it is text alone."""
    if text == b"null":
        return None, None
    parts = scan_array(text) if text.startswith(b"[") else [text]
    texts = []
    for part in parts:
        try:
            texts.append(read_string(part))
        except ValueError:
            continue
    return "\n".join(texts) if texts else None, text if len(texts) < len(parts) else None


def _metrics(text: bytes) -> tuple[Metrics | None, bytes | None]:
    """Returns the metrics, and the text of those without a column. Raises `ValueError` for neither object nor null."""
    if text == b"null":
        return None, None
    values = {}
    left = {}
    for name, (key, member) in _members(text).items():
        try:
            if name not in ITEM_METRICS:
                raise ValueError("no such metric")
            values[name] = _nullable(_number)(member)
        except ValueError:
            left[key] = member
    return Metrics(**values), object_text(left)


def _number(text: bytes) -> float:
    if _NUMBER.fullmatch(text) is None or not isfinite(number := float(text)):
        raise ValueError("is not a number that fits")
    return number


def _time(text: bytes) -> float:
    seconds = _number(text)
    if not _LEAST_TIME <= seconds <= _MOST_TIME:
        raise ValueError("is not a time of these years")
    return seconds


def _flag(text: bytes) -> bool:
    if text not in (b"true", b"false"):
        raise ValueError("is neither true nor false")
    return text == b"true"


def _nullable(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    return lambda text: None if text == b"null" else read(text)


_READERS: Final[dict[str, Callable[[bytes], Any]]] = {
    **dict.fromkeys(("id", "type", "role", "call_id", "name", "arguments", "output"), _nullable(read_string)),
    **dict.fromkeys(("interrupted", "is_error"), _nullable(_flag)),
    "transcript_confidence": _nullable(_number),
    "created_at": _nullable(_time),
}
