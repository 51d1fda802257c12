"""Reads the parameters of requests. Pure: whatever they hold gives a value, or a `NoAnswerError` in one sentence."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from typing import Final, NamedTuple, TypeVar

import msgspec

from exporter.contract import BEGINNING, END_OF_TIME, Instant
from exporter.errors import UsageError
from exporter.options.times import to_instant
from exporter.viewer.no_answer import NoAnswerError

T = TypeVar("T")

MOST_ROWS: Final = 200
MOST_TURNS: Final = 1000
_ROWS: Final = 50
_TURNS: Final = 500
_MOST_CHARACTERS: Final = 2000
_MOST_DIGITS: Final = 12
_MOST_NUMBER: Final = 10**_MOST_DIGITS - 1
_MOST_SECONDS: Final = 1e9


class Position(NamedTuple):
    """Stands before the conversations that were created earlier, or at this instant with a smaller id."""

    created_at: Instant
    identity: str


class Find(NamedTuple):
    """Says which conversations are looked for, from new to old, `limit` at most, behind `cursor` if there is one.

    Times are half-open. `user` and `text` are found in any letter case. With `recording`, only those whose recording is
    kept; `duration_above` is in whole seconds, and some reply came after `latency_above` seconds or more.
    """

    since: Instant | None
    until: Instant | None
    agent_id: str | None
    agent_version_id: str | None
    channel: str | None
    status: str | None
    user: str | None
    text: str | None
    recording: bool
    duration_above: int | None
    latency_above: float | None
    cursor: Position | None
    limit: int
    generation: int | None


class One(NamedTuple):
    """Names a conversation."""

    identity: str
    generation: int | None


class Turns(NamedTuple):
    """Names the items of a conversation from a place on, or the page that is spoken `at_seconds` of its recording."""

    identity: str
    start: int
    at_seconds: float | None
    limit: int
    generation: int | None


def parse_find(pairs: Iterable[tuple[str, str]], now: Instant, zone: tzinfo) -> Find:
    """Returns what a search asks for; times without an offset are in `zone`. Raises `NoAnswerError`."""

    def time(name: str, text: str) -> Instant:
        try:
            return to_instant(text, now, name, zone)
        except UsageError as error:
            raise NoAnswerError(str(error)) from error

    given = _given(pairs, Find._fields)
    since, until = (_read(given, name, time) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise NoAnswerError("since: must be earlier than until")
    return Find(
        since,
        until,
        agent_id=given.get("agent_id"),
        agent_version_id=given.get("agent_version_id"),
        channel=given.get("channel"),
        status=given.get("status"),
        user=given.get("user"),
        text=given.get("text"),
        recording=_read(given, "recording", _kept) or False,
        duration_above=_number(given, "duration_above", 0) or None,
        latency_above=_read(given, "latency_above", _seconds),
        cursor=_read(given, "cursor", lambda _, text: decode_position(text)),
        limit=_number(given, "limit", _ROWS, least=1, most=MOST_ROWS),
        generation=_generation(given),
    )


def parse_one(pairs: Iterable[tuple[str, str]]) -> One:
    """Returns which conversation is asked for. Raises `NoAnswerError`."""
    given = _given(pairs, ("id", "generation"))
    return One(_identity(given), _generation(given))


def parse_turns(pairs: Iterable[tuple[str, str]]) -> Turns:
    """Returns which items of which conversation are asked for. Raises `NoAnswerError`."""
    given = _given(pairs, ("id", "from", "at", "limit", "generation"))
    if "from" in given and "at" in given:
        raise NoAnswerError("from, at: give one of the two")
    return Turns(
        _identity(given),
        _number(given, "from", 0),
        _read(given, "at", _seconds),
        _number(given, "limit", _TURNS, least=1, most=MOST_TURNS),
        _generation(given),
    )


def parse_generation(pairs: Iterable[tuple[str, str]]) -> int | None:
    """Returns the generation that is asked for, where nothing else can be. Raises `NoAnswerError`."""
    return _generation(_given(pairs, ("generation",)))


def parse_nothing(pairs: Iterable[tuple[str, str]]) -> None:
    """Raises `NoAnswerError` if there is any parameter."""
    _given(pairs, ())


def encode_position(position: Position) -> str:
    """Returns a position as the text of a cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode("ascii").rstrip("=")


def decode_position(text: str) -> Position:
    """Inverts `encode_position`. Raises `NoAnswerError` for a text that it has not made."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        position = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=Position)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise NoAnswerError("cursor: not one that this page has given; search again from the start") from error
    if not BEGINNING <= position.created_at <= END_OF_TIME:
        raise NoAnswerError("cursor: not one that this page has given; search again from the start")
    return position


def _given(pairs: Iterable[tuple[str, str]], known: tuple[str, ...]) -> Mapping[str, str]:
    """Returns the parameters that are not empty. Raises `NoAnswerError` for one that is unknown, repeated or long."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise NoAnswerError(f"there is no parameter {_shown(name)} here; there are: {', '.join(known) or 'none'}")
        if name in given:
            raise NoAnswerError(f"{name}: given twice")
        if len(value) > _MOST_CHARACTERS:
            raise NoAnswerError(f"{name}: longer than {_MOST_CHARACTERS:,} characters")
        if not _is_text(value):
            raise NoAnswerError(f"{name}: not UTF-8")
        given[name] = value
    return {name: value for name, value in given.items() if value}


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return ascii(name[:40])


def _read(given: Mapping[str, str], name: str, read: Callable[[str, str], T]) -> T | None:
    return read(name, given[name]) if name in given else None


def _number(given: Mapping[str, str], name: str, otherwise: int, least: int = 0, most: int = _MOST_NUMBER) -> int:
    text = given.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and least <= int(text) <= most):
        raise NoAnswerError(f"{name}: must be a whole number from {least:,} to {most:,}")
    return int(text)


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MOST_SECONDS:
        raise NoAnswerError(f"{name}: must be a number of seconds, from 0 on")
    return seconds


def _kept(name: str, text: str) -> bool:
    if text != "kept":
        raise NoAnswerError(f"{name}: must be kept, for conversations whose recording is here")
    return True


def _identity(given: Mapping[str, str]) -> str:
    if "id" not in given:
        raise NoAnswerError("id: must name a conversation")
    return given["id"]


def _generation(given: Mapping[str, str]) -> int | None:
    return _number(given, "generation", 0) if "generation" in given else None
