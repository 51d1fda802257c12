"""Finds out which of the rows have a recording that the media host serves."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from exporter.contract import SECOND, Instant
from exporter.sandbox.conversations import RECORDINGS_HOST

FIELD: Final = "recording_details"
#: The media host tells these in its own way.
_OWN: Final = frozenset(("recording_url", "expires_at", "format"))


class Recording(NamedTuple):
    """Describes the recording of a conversation. `name` decides its sound; `rest` are other members of the details."""

    identity: str
    name: str
    created_at: Instant
    ended_at: Instant
    rest: dict[str, Any]

    @property
    def key(self) -> str:
        """Returns what its links are signed for."""
        return f"{self.identity}/{self.name}"


def recording_of(created_at: Instant, document: Mapping[str, object]) -> Recording | None:
    """Returns the recording of a row, or None unless its URL is on the host that stands for the media host."""
    identity, details = document.get("id"), document.get(FIELD)
    if not isinstance(identity, str) or not isinstance(details, dict):
        return None
    url = details.get("recording_url")
    if not isinstance(url, str) or not url.startswith(f"{RECORDINGS_HOST}/"):
        return None
    name = url.partition("?")[0].rpartition("/")[2].partition(".")[0]
    duration = details.get("duration", document.get("duration"))
    lasted = int(duration * SECOND) if isinstance(duration, int | float) else 0
    rest = {member: value for member, value in details.items() if member not in _OWN}
    return Recording(identity, name, created_at, created_at + lasted, rest)
