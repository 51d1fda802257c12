"""What comes of one attempt that the API has answered. Plain data."""

from dataclasses import dataclass

from exporter.contract import Instant
from exporter.fetch.pace.quota import Quota


@dataclass(frozen=True, slots=True)
class Answer:
    """A body that begins like a JSON array; of one conversation, like an object.

    `served_at`: the server's clock, None when it sent no usable `Date`.

    `quota`: how many more requests are welcome, if the headers say. `age`: how long ago, in microseconds, a cache says
    that the server answered.
    """

    body: bytes
    served_at: Instant | None
    quota: Quota | None = None
    age: int = 0


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether the API knows a conversation by its id: False for 404. `quota`: as of an `Answer`."""

    is_known: bool
    quota: Quota | None = None
