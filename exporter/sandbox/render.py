"""Turns a row into its JSON text, in the server's present style; keeps texts, so that a page is only a join."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from exporter.contract import FIELDS, MILLISECOND, SECOND, Instant
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.readings import on_grid
from exporter.sandbox.rows import Row

SENSITIVE: Final = frozenset(field.name for field in FIELDS if field.sensitive)

_EPOCH = datetime(1970, 1, 1)
_UNITS = {"us": 1, "ms": MILLISECOND, "s": SECOND}
_DIGITS = {"us": 6, "ms": 3, "s": 0}
_MAX_VIEWS = 8


class View(NamedTuple):
    """Holds what decides a row's text besides the row itself: role, fields and the style of timestamps."""

    fields: frozenset[str] | None
    sensitive: bool
    extra: bool
    precision: Literal["us", "ms", "s"]
    rounding: Literal["cut", "half-even", "half-up"]
    fraction: Literal["fixed", "python", "trimmed"]
    offset: Literal["Z", "+00:00", "none"]

    @classmethod
    def of(cls, behaviour: Behaviour, fields: frozenset[str] | None = None, *, sensitive: bool = True) -> "View":
        return cls(
            fields=fields,
            sensitive=sensitive,
            extra=behaviour.extra_fields,
            precision=behaviour.precision,
            rounding=behaviour.rounding,
            fraction=behaviour.fraction,
            offset=behaviour.offset,
        )


def served_instant(instant: Instant, precision: str, rounding: str) -> Instant:
    """Returns a stored instant as precisely as it is served; the order of instants is kept."""
    return on_grid(instant, _UNITS[precision], rounding)


def served_text(instant: Instant, view: View) -> str:
    """Returns the timestamp as it is served (source.md, 2)."""
    seconds, micros = divmod(served_instant(instant, view.precision, view.rounding), SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    digits = f"{micros:06d}"
    if view.fraction == "fixed":
        digits = digits[: _DIGITS[view.precision]]
    elif view.fraction == "trimmed":
        digits = digits.rstrip("0")
    elif not micros:
        digits = ""
    return text + ("." if digits else "") + digits + ("" if view.offset == "none" else view.offset)


def render(row: Row, view: View) -> bytes:
    """Returns the JSON text of a row."""
    if row.raw is not None:
        return row.raw
    document = row.document(served_text(row.created_at, view), served_text(row.updated_at, view))
    if view.extra:
        document["queue_seconds"] = row.created_at % 977 / 10
        document["sentiment"] = {"label": "neutral", "scores": [row.created_at % 7, None]}
    if not view.sensitive:
        document = {name: value for name, value in document.items() if name not in SENSITIVE}
    if view.fields is not None:
        document = {name: value for name, value in document.items() if name in view.fields}
    return msgspec.json.encode(document)


class Renderer:
    """Keeps the texts of the views that were asked for last, up to `max_bytes` in all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept_bytes = 0
        self._views: dict[View, dict[Row, bytes]] = {}

    def texts(self, rows: Iterable[Row], view: View) -> list[bytes]:
        """Returns the text of each row."""
        kept = self._texts_of(view)
        texts = []
        for row in rows:
            text = kept.get(row)
            if text is None:
                text = render(row, view)
                if self._kept_bytes + len(text) <= self._max_bytes:
                    kept[row] = text
                    self._kept_bytes += len(text)
            texts.append(text)
        return texts

    def forget(self, row: Row) -> None:
        """Drops the texts of a row that is no longer served."""
        for kept in self._views.values():
            self._kept_bytes -= len(kept.pop(row, b""))

    def _texts_of(self, view: View) -> dict[Row, bytes]:
        kept = self._views.pop(view, None)
        if kept is None:
            kept = {}
            if len(self._views) >= _MAX_VIEWS:
                oldest = self._views.pop(next(iter(self._views)))
                self._kept_bytes -= sum(map(len, oldest.values()))
        self._views[view] = kept
        return kept
