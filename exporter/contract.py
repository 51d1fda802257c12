"""Describes the API as the exporter uses it: names, values, limits, timestamps and cursors (see source.md).

Nothing here does I/O. An *instant* is an integer: microseconds since 1970-01-01T00:00:00Z. Integers compare, add and
bisect exactly, and the API stores microseconds (source.md, 2).
"""

import base64
import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, TypeAlias, overload

import msgspec

Instant: TypeAlias = int

MICROSECOND: Final = 1
MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

#: The earliest instant that ISO 8601 can express with a four-digit year; it stands for "open below".
BEGINNING: Final[Instant] = -62_135_596_800 * SECOND
#: 1970, which is earlier than any conversation.
EPOCH: Final[Instant] = 0
#: Exclusive: the first instant that a four-digit year can no longer express.
END_OF_TIME: Final[Instant] = 253_402_300_800 * SECOND

DEFAULT_BASE_URL: Final = "https://api.anyreach.ai"
CONVERSATIONS_PATH: Final = "/core/conversations"
SCOPES_PATH: Final = "/admin/members/me/scopes"
USAGE_PATH: Final = "/admin/usage/summary"
#: The most days that a usage summary can be asked for.
USAGE_DAYS: Final = 366
TOKEN_VARIABLE: Final = "ANYREACH_TOKEN"  # noqa: S105 - the variable's name, not a token
ORGANIZATION_VARIABLE: Final = "ANYREACH_ORG_ID"
BASE_URL_VARIABLE: Final = "ANYREACH_BASE_URL"
ORGANIZATION_HEADER: Final = "X-Anyreach-Org"
PERSONAL_TOKEN_PREFIX: Final = "pat_"  # noqa: S105 - what a token begins with
TOKEN_PREFIXES: Final = ("ak_", PERSONAL_TOKEN_PREFIX)

MAX_PAGE_SIZE: Final = 1000

DIRECTIONS: Final = ("inbound", "outbound")
CHANNELS: Final = ("telephone", "webrtc", "email", "text")
STATUSES: Final = (
    "token_created",
    "triggered",
    "ringing",
    "in_progress",
    "completed",
    "failed",
    "cancelled",
    "transferred",
    "unanswered",
)
#: A conversation with one of these statuses is not over: it will change.
OPEN_STATUSES: Final = ("token_created", "triggered", "ringing", "in_progress")
#: The status that a list without a `status` filter may leave out, as the vendor's own view does (source.md, 7).
HIDDEN_STATUS: Final = "token_created"


class Kind(Enum):
    """Names the kind of value that a field of a conversation holds, which decides its column."""

    STRING = "string"
    INTEGER = "integer"
    TIMESTAMP = "timestamp"
    AGENT = "agent"
    JSON = "json"


#: The key, in a column's metadata, of the exporter version that added the column. Earlier parts do not have the column.
ADDED: Final = b"exporter.added"


class Field(msgspec.Struct, frozen=True):
    """Describes a documented field of a conversation.

    `sensitive` means that the field is absent unless the token may read sensitive fields. `added` is the version of the
    exporter that gave the field a column, if the first version had none.
    """

    name: str
    kind: Kind
    sensitive: bool = False
    added: str = ""


FIELDS: Final = (
    Field("id", Kind.STRING),
    Field("organization_id", Kind.STRING),
    Field("user_id", Kind.STRING),
    Field("agent_id", Kind.STRING),
    Field("agent_version_id", Kind.STRING),
    Field("direction", Kind.STRING),
    Field("channel", Kind.STRING),
    Field("status", Kind.STRING),
    Field("agent_number", Kind.STRING),
    Field("web_widget_id", Kind.STRING),
    Field("trunk_id", Kind.STRING),
    Field("duration", Kind.INTEGER),
    Field("user_turn_count", Kind.INTEGER),
    Field("created_at", Kind.TIMESTAMP),
    Field("updated_at", Kind.TIMESTAMP),
    Field("agent", Kind.AGENT, sensitive=True),
    Field("summary", Kind.STRING, sensitive=True),
    Field("initial_context", Kind.JSON, sensitive=True),
    Field("custom_metadata", Kind.JSON, sensitive=True),
    Field("conversation", Kind.JSON, sensitive=True),
    Field("recording_details", Kind.JSON, sensitive=True),
)
FIELD_NAMES: Final = tuple(field.name for field in FIELDS)
#: Always requested, whatever the user chose: the walk, the merge and the final-state count need them.
ALWAYS_FIELDS: Final = ("id", "created_at", "updated_at", "status")
#: The field that holds the transcript.
TRANSCRIPT_FIELD: Final = "conversation"
#: The field that holds the link to the recording.
RECORDING_FIELD: Final = "recording_details"
#: The member of that field that is the link, and those that may say when it ends.
RECORDING_URL: Final = "recording_url"
LINK_ENDS: Final = ("expires_at", "url_expires_at", "recording_url_expires_at")
#: Measurements of a message: numbers, in seconds; the first two are times since 1970.
ITEM_METRICS: Final = (
    "started_speaking_at",
    "stopped_speaking_at",
    "transcription_delay",
    "end_of_turn_delay",
    "on_user_turn_completed_delay",
    "llm_node_ttft",
    "tts_node_ttfb",
    "e2e_latency",
)


class FilterKind(Enum):
    """Names the way in which a filter's value is checked before it is sent."""

    TEXT = "text"
    CHOICE = "choice"
    INTEGER = "integer"
    METADATA = "metadata"
    TIME = "time"


class Filter(msgspec.Struct, frozen=True):
    """Describes a query parameter that narrows the list. `choices` holds the known values of an enum.

    If it `takes_several` values, the list of each is read, because the API takes one value of a parameter.
    """

    name: str
    kind: FilterKind
    choices: tuple[str, ...] = ()
    takes_several: bool = False


#: Every filter except `created_after` and `created_before`, which make up the exporter's range.
FILTERS: Final = (
    Filter("direction", FilterKind.CHOICE, DIRECTIONS, takes_several=True),
    Filter("channel", FilterKind.CHOICE, CHANNELS, takes_several=True),
    Filter("status", FilterKind.CHOICE, STATUSES, takes_several=True),
    Filter("user_id", FilterKind.TEXT),
    Filter("agent_number", FilterKind.TEXT),
    Filter("agent_id", FilterKind.TEXT, takes_several=True),
    Filter("agent_version_id", FilterKind.TEXT),
    Filter("web_widget_id", FilterKind.TEXT),
    Filter("duration_above", FilterKind.INTEGER),
    Filter("duration_below", FilterKind.INTEGER),
    Filter("user_turn_count_above", FilterKind.INTEGER),
    Filter("user_turn_count_below", FilterKind.INTEGER),
    Filter("custom_metadata", FilterKind.METADATA),
    Filter("updated_after", FilterKind.TIME),
    Filter("updated_before", FilterKind.TIME),
)
FILTERS_BY_NAME: Final = {known.name: known for known in FILTERS}
#: Filters on values that change while a conversation goes on, or after it.
MUTABLE_FILTERS: Final = (
    "status",
    "duration_above",
    "duration_below",
    "user_turn_count_above",
    "user_turn_count_below",
    "custom_metadata",
    "updated_after",
    "updated_before",
)
#: The most lists that are read for filters of several values: one for each combination of them.
MAX_LISTS: Final = 32
#: Parameters that the walk itself sets; a user cannot set them as a filter.
RESERVED_PARAMETERS: Final = ("created_after", "created_before", "cursor", "limit", "fields")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_ISO_8601 = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,18}))?"
    r" ?([Zz]|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)


def parse_timestamp(text: str) -> Instant:
    """Returns the instant that an ISO 8601 text names; a text without an offset is in UTC (source.md, 2).

    Raises `ValueError` for anything else, and for a fraction that is finer than a microsecond.
    """
    match = _ISO_8601.fullmatch(text)
    if match is None:
        raise ValueError("not a time")
    date, time, fraction, offset = match.groups()
    digits = (fraction or "").ljust(6, "0")
    if digits[6:].strip("0"):
        raise ValueError("finer than a microsecond")
    if fraction and time.count(":") == 1:
        raise ValueError("a fraction needs seconds")
    zone = "+00:00" if offset is None or offset in "Zz" else offset
    try:
        moment = datetime.fromisoformat(f"{date}T{time or '00:00'}{zone}")
    except ValueError as error:
        raise ValueError("there is no such day or time") from error
    return instant_of(moment) + int(digits[:6])


@overload
def to_datetime(instant: Instant) -> datetime: ...
@overload
def to_datetime(instant: Instant | None) -> datetime | None: ...
def to_datetime(instant: Instant | None) -> datetime | None:
    """Returns an instant as Python programs have it: a `datetime` in UTC, exact to the microsecond; None for None."""
    return None if instant is None else _EPOCH + timedelta(microseconds=instant)


def instant_of(moment: datetime) -> Instant:
    """Returns the instant of a `datetime`, which must have an offset."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class TimestampStyle(msgspec.Struct, frozen=True):
    """Describes how a server writes timestamps, for requests to do the same. `offset` is `Z`, `+00:00` or empty."""

    offset: str = "Z"

    @classmethod
    def of(cls, text: str) -> "TimestampStyle":
        """Returns the style of one served timestamp."""
        match = _ISO_8601.fullmatch(text)
        return cls(offset=(match and match.group(4)) or "")


def format_instant(instant: Instant, style: TimestampStyle | None = None) -> str:
    """Returns ISO 8601 in UTC, with as few fraction digits as are exact (none, three or six)."""
    whole, micros = divmod(instant, SECOND)
    text = (_NAIVE_EPOCH + timedelta(0, whole)).isoformat()
    if micros:
        text += f".{micros // 1000:03d}" if micros % 1000 == 0 else f".{micros:06d}"
    offset = "Z" if style is None else style.offset
    # The served offset may be +02:00; the text written here is in UTC whatever the style says.
    return text + (offset if offset in ("Z", "z", "") else "+00:00")


def format_datetime(moment: datetime) -> str:
    """Returns the text of a `datetime`, which must have an offset, as `format_instant` writes it."""
    return format_instant(instant_of(moment))


def encode_cursor(instant: Instant, style: TimestampStyle | None = None) -> str:
    """Returns the `cursor` parameter: Base64 of an ISO 8601 timestamp (source.md, Request)."""
    return base64.b64encode(format_instant(instant, style).encode("ascii")).decode("ascii")


def decode_cursor(cursor: str) -> Instant:
    """Returns the instant in a `cursor`. Raises `ValueError` unless it is Base64 of an ISO 8601 timestamp."""
    return parse_timestamp(base64.b64decode(cursor, validate=True).decode("ascii"))
