"""Puts rows together field by field, for pages that strict decoding refuses.

This is slower than decoding a page whole, and decides about each row alone: a row that fits is equal to the one that
strict decoding gives, and any other becomes a `Misfit`. A JSON field keeps its text whatever is inside. A key that
appears twice with the same text counts once; with different texts the row is a misfit, because readers disagree about
which one counts.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from exporter.contract import FIELDS, Instant, Kind
from exporter.encode.numbers import parse_integer
from exporter.encode.rows import Agent, EncodeRow, ExactRow, Misfit, object_text
from exporter.encode.scan import ScannedRow, scan_object, scan_page
from exporter.encode.times import parse_floored
from exporter.errors import UnplacedError

#: The beginning of the `id` of a misfit that has none of its own.
NO_ID: Final = "no id, sha256:"
_ELEMENTS: Final = {b"[": "a list", b'"': "a string", b"n": "null"}
_KINDS: Final = {known.name: known.kind for known in FIELDS}


class _RowDraft(msgspec.Struct):
    """Holds what could be read of one row. `row` is None for a misfit, whose `reason` is the first that was met."""

    scanned: ScannedRow
    id: str | None = None
    created_at_text: str | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None
    row: ExactRow | None = None
    reason: str = ""


class ExactPage(msgspec.Struct):
    """Holds the rows of a page with their positions.

    `created_at_text` is the first usable time as it was written, or None.
    """

    rows: list[EncodeRow] = msgspec.field(default_factory=list)
    created_at: list[Instant] = msgspec.field(default_factory=list)
    updated_at: list[Instant | None] = msgspec.field(default_factory=list)
    created_at_text: str | None = None


def read_page(body: bytes, row_type: type[ExactRow], asked: frozenset[str], at: Instant | None = None) -> ExactPage:
    """Returns all rows of a page. `at` is their time if none of them says one.

    Raises `scan.UnscannableError`, `scan.NotRowsError` and, if there are rows and nothing places them, `UnplacedError`.
    """
    readings = [_read(scanned, row_type, asked) for scanned in scan_page(body)]
    first = next((reading for reading in readings if reading.created_at is not None), None)
    position = first.created_at if first else at
    if not readings:
        return ExactPage()
    if position is None:
        raise _unplaced(readings)
    page = ExactPage(created_at_text=first.created_at_text if first else None)
    same: Counter[tuple[bytes, Instant]] = Counter()
    for reading in readings:
        if reading.created_at is None:
            # Rows with the same text are numbered, so that all of them are kept.
            same[reading.scanned.text, position] += 1
            number = same[reading.scanned.text, position]
            reading.id = reading.id or _stand_in(b"%b@%d#%d" % (reading.scanned.text, position, number))
        else:
            position = reading.created_at
        page.rows.append(reading.row or _misfit(reading, position))
        page.created_at.append(position)
        page.updated_at.append(reading.updated_at)
    return page


def _misfit(reading: _RowDraft, position: Instant) -> Misfit:
    text = reading.scanned.text
    try:
        text.decode()
    except UnicodeDecodeError:
        text = b"base64:" + base64.b64encode(text)
    key = reading.id or _stand_in(reading.scanned.text)
    return Misfit(id=key, created_at=position, reason=reading.reason, text=text)


def _stand_in(text: bytes) -> str:
    return NO_ID + hashlib.sha256(text).hexdigest()


def _unplaced(readings: Sequence[_RowDraft]) -> UnplacedError:
    texts = [reading.scanned.text for reading in readings]
    if any(reading.scanned.members is not None for reading in readings):
        what = "no conversation on the page has a usable created_at: it cannot be paged"
    elif set(texts) == {b"null"}:
        what = f"the answer has {len(texts)} elements that are null, and no conversation. Ask whoever runs the API"
    else:
        kind = _ELEMENTS.get(texts[0][:1], "a number or a word")
        what = f"the answer is not a list of conversations: its first element is {kind}. Check the base URL"
    return UnplacedError(what, len(texts), is_nothing=set(texts) == {b"null"})


def _read(scanned: ScannedRow, row_type: type[ExactRow], asked: frozenset[str]) -> _RowDraft:
    reading = _RowDraft(scanned)
    if scanned.members is None:
        reading.reason = "is not an object"
        return reading
    members, problems = _named(scanned.members)
    try:
        scanned.text.decode()
    except UnicodeDecodeError:
        problems.append("not UTF-8")
    values: dict[str, Any] = {}
    unknown: dict[bytes, bytes] = {}
    for name, (key, text) in members.items():
        if name not in _KINDS:
            unknown[key] = text
        elif name in asked:
            try:
                values[name] = _value(_KINDS[name], text, unknown)
            except ValueError as error:
                problems.append(f"{name} {error}")
    _place(reading, values, problems)
    if problems:
        reading.reason = problems[0]
    else:
        reading.row = row_type(**values, extra=object_text(unknown))
    return reading


def _place(reading: _RowDraft, values: dict[str, Any], problems: list[str]) -> None:
    """Sets what the walk needs to know, as far as it is usable, and adds what is wrong with it to `problems`."""
    reading.id = values.get("id")
    if not reading.id:
        problems.append("id is missing")
    for name in ("created_at", "updated_at"):
        text = values.get(name)
        if text is None:
            if name == "created_at":
                problems.append("created_at is missing")
            continue
        instant, is_exact = parse_floored(text)
        if not is_exact:
            problems.append(f"{name} is not a date-time" if instant is None else f"{name} is finer than a microsecond")
        setattr(reading, name, instant)
    reading.created_at_text = values.get("created_at")


def _named(members: Sequence[tuple[bytes, bytes]]) -> tuple[dict[str, tuple[bytes, bytes]], list[str]]:
    """Returns the members by name, each with its key in its canonical spelling, and what is wrong with the names."""
    named: dict[str, tuple[bytes, bytes]] = {}
    problems: list[str] = []
    for key, text in members:
        try:
            name, canonical = read_name(key)
        except ValueError:
            problems.append("the name of a field is not valid JSON")
            continue
        if name in named and named[name][1] != text:
            problems.append(f"{name if name in _KINDS else 'an unknown field'} appears twice, with different values")
        named[name] = (canonical, text)
    return named, problems


@lru_cache(maxsize=1024)
def read_name(key: bytes) -> tuple[str, bytes]:
    """Returns the name that the text of a key stands for, and its canonical spelling. Raises `ValueError`."""
    name = str(json.loads(key.decode(), strict=False))
    try:
        return name, msgspec.json.encode(name)
    except UnicodeEncodeError:
        return name, key


def _value(kind: Kind, text: bytes, unknown: dict[bytes, bytes]) -> Any:
    """Returns what a row holds for a field; unknown members of an agent go to `unknown`.

    Raises `ValueError` that says why the value fits no column, without the value.
    """
    if kind is Kind.JSON:
        return msgspec.Raw(text)
    if kind is Kind.INTEGER:
        if text != b"null":
            parse_integer(text)
        return msgspec.Raw(text)
    if text == b"null":
        return None
    if kind is Kind.AGENT:
        return _agent(text, unknown)
    return read_string(text)


def read_string(text: bytes) -> str:
    """Returns the string that a JSON text stands for. Raises `ValueError` that says why no column takes it."""
    if not text.startswith(b'"'):
        raise ValueError("is not a string")
    try:
        if b"\\" not in text:
            return text[1:-1].decode()
        value = str(json.loads(text.decode(), strict=False))
        value.encode()
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8") from error
    except UnicodeEncodeError as error:
        raise ValueError("holds a lone surrogate") from error
    except ValueError as error:
        raise ValueError("holds an escape that JSON does not know") from error
    return value


def _agent(text: bytes, unknown: dict[bytes, bytes]) -> Agent:
    if not text.startswith(b"{"):
        raise ValueError("is not an object")
    members, problems = _named(scan_object(text))
    if problems:
        raise ValueError("holds a key twice, with different values")
    values: dict[str, Any] = {}
    inside: dict[bytes, bytes] = {}
    for name, (key, member) in members.items():
        if name in Agent.__struct_fields__:
            values[name] = None if member == b"null" else read_string(member)
        else:
            inside[key] = member
    if whole := object_text(inside):
        unknown[b'"agent"'] = whole
    return Agent(**values)
