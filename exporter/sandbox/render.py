"""Turns a row into its JSON text, in the server's present style; keeps texts, so that a page is only a join."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from exporter.contract import FIELDS, MILLISECOND, SECOND, Instant
from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.readings import on_grid
from exporter.sandbox.recordings import FIELD, Recording, recording_of
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
    omits: tuple[str, ...]

    @classmethod
    def of(
        cls,
        behaviour: Behaviour,
        fields: frozenset[str] | None = None,
        *,
        sensitive: bool = True,
        is_listed: bool = False,
    ) -> "View":
        """Returns the view of a row by itself, or of one that `is_listed`."""
        return cls(
            fields=fields,
            sensitive=sensitive,
            extra=behaviour.extra_fields,
            precision=behaviour.precision,
            rounding=behaviour.rounding,
            fraction=behaviour.fraction,
            offset=behaviour.offset,
            omits=behaviour.list_omits if is_listed else (),
        )

    def shows(self, name: str) -> bool:
        """Returns whether the field is in a text, if the row has it."""
        is_asked = self.fields is None or name in self.fields
        return is_asked and name not in self.omits and (self.sensitive or name not in SENSITIVE)


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
    return row.raw if row.raw is not None else _encode(_document(row, view), view)


def _document(row: Row, view: View) -> dict[str, object]:
    make = row.document if view.shows("conversation") else row.brief
    document = make(served_text(row.created_at, view), served_text(row.updated_at, view))
    if view.extra:
        document["queue_seconds"] = row.created_at % 977 / 10
        document["sentiment"] = {"label": "neutral", "scores": [row.created_at % 7, None]}
    return document


def _encode(document: dict[str, object], view: View) -> bytes:
    return msgspec.json.encode({name: value for name, value in document.items() if view.shows(name)})


class _Kept(NamedTuple):
    """Holds a text, and the recording whose details follow when it is read."""

    text: bytes
    recording: Recording | None


_NOTHING: Final = _Kept(b"", None)


class Renderer:
    """Keeps the texts of the views that were asked for last, up to `max_bytes` in all.

    `sign` returns the JSON text of a recording's details as it is now, or None if the field is absent.
    """

    def __init__(self, max_bytes: int, sign: Callable[[Recording], bytes | None] | None = None) -> None:
        self._max_bytes = max_bytes
        self._sign = sign
        self._kept_bytes = 0
        self._views: dict[View, dict[Row, _Kept]] = {}

    def texts(self, rows: Iterable[Row], view: View) -> list[bytes]:
        """Returns the text of each row."""
        kept = self._texts_of(view)
        texts = []
        for row in rows:
            found = kept.get(row)
            if found is None:
                found = self._make(row, view)
                if self._kept_bytes + len(found.text) <= self._max_bytes:
                    kept[row] = found
                    self._kept_bytes += len(found.text)
            texts.append(found.text if found.recording is None else self._signed(found.text, found.recording))
        return texts

    def _make(self, row: Row, view: View) -> _Kept:
        if self._sign is None or row.raw is not None or not view.shows(FIELD):
            return _Kept(render(row, view), None)
        document = _document(row, view)
        recording = recording_of(row.created_at, document)
        if recording is not None:
            del document[FIELD]
        return _Kept(_encode(document, view), recording)

    def _signed(self, text: bytes, recording: Recording) -> bytes:
        """Returns a text with the details of its recording, if it has any now, as the last field."""
        details = None if self._sign is None else self._sign(recording)
        if details is None:
            return text
        comma = b"," if len(text) > len(b"{}") else b""
        return b"".join((text[:-1], comma, b'"', FIELD.encode(), b'":', details, b"}"))

    def forget(self, row: Row) -> None:
        """Drops the texts of a row that is no longer served."""
        for kept in self._views.values():
            self._kept_bytes -= len(kept.pop(row, _NOTHING).text)

    def _texts_of(self, view: View) -> dict[Row, _Kept]:
        kept = self._views.pop(view, None)
        if kept is None:
            kept = {}
            if len(self._views) >= _MAX_VIEWS:
                oldest = self._views.pop(next(iter(self._views)))
                self._kept_bytes -= sum(len(each.text) for each in oldest.values())
        self._views[view] = kept
        return kept
