"""Says that the token ends soon, while there is time to have another one made."""

from typing import Final

from exporter.bearer import Bearer
from exporter.contract import DAY, SECOND, Instant, format_instant
from exporter.words import format_seconds

#: A token that ends within this is near its end: long enough for whoever makes tokens to be away.
NEAR: Final = 14 * DAY


def near_end(bearer: Bearer, now: Instant) -> str | None:
    """Returns that the token ends soon, and what to do; None if it does not, or if the API has not told."""
    end = bearer.expires_at
    if end is None or end - now > NEAR:
        return None
    left = format_seconds(max(0, end - now) / SECOND)
    return (
        f"the API says that the token ends in {left}, at {format_instant(end // SECOND * SECOND)}. "
        f"Have another one made, and put it where this one is: {bearer.source.named}"
    )
