"""Holds what comes of one attempt that the API has answered. Plain data."""

import msgspec

from exporter.contract import Instant
from exporter.fetch.pace.quota import Quota


class Answer(msgspec.Struct, frozen=True):
    """Represents a body that begins like a JSON array, or like an object for one conversation.

    `served_at` is the server's clock, None when it sent no usable `Date`. `quota` is how many more requests are
    welcome, if the headers say. `age` is how long ago, in microseconds, a cache says that the server answered.
    `wire_bytes` is the size of the body as it came, packed or not.
    """

    body: bytes | memoryview
    served_at: Instant | None
    quota: Quota | None = None
    age: int = 0
    wire_bytes: int = 0


class Presence(msgspec.Struct, frozen=True):
    """Tells whether the API knows a conversation by its id: False for 404. `quota` is as in an `Answer`."""

    is_known: bool
    quota: Quota | None = None
