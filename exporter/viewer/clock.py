"""Decides when a recording began, so that a turn can be found in it. Pure. Times are seconds since 1970.

The API tells when things were said, but not when the recording began that they are in. Unless `recording_details` says
it, the recording is taken to begin with the conversation; but no earlier than its length allows, because it holds the
last thing that was said, and no later than the first one.
"""

from typing import Any, Final, Literal, TypeAlias

import msgspec

from exporter.contract import SECOND, parse_timestamp

Basis: TypeAlias = Literal["recording", "conversation", "speech"]

#: Members of `recording_details` that may say when a recording began: as ISO 8601, or as seconds or milliseconds.
_STARTS: Final = ("recording_started_at", "started_at", "start_time")
_MOST_SECONDS_APART: Final = 86_400.0
#: A ring may last so long before anything is said; a longer silence is a conversation that was made in advance.
_MOST_SILENCE_SECONDS: Final = 600.0
#: Times are served less exactly than they are stored.
_SAME_SECONDS: Final = 1.0
_NOTES: Final[dict[Basis, str]] = {
    "recording": "",
    "conversation": "Places in the recording are estimated: the API does not say when it began, so it is taken to "
    "begin with the conversation.",
    "speech": "Places in the recording are estimated: the API does not say when it began, so it is taken to begin "
    "where what was said fits into it.",
}


class Clock(msgspec.Struct, frozen=True):
    """Says when the recording of a conversation began, on what `basis` that is known, and whether it is a guess."""

    starts_at: float
    basis: Basis

    @property
    def is_estimated(self) -> bool:
        return self.basis != "recording"

    @property
    def note(self) -> str:
        return _NOTES[self.basis]


def clock_of(
    created_at: float, details: str | None, duration: float | None, first: float | None, last: float | None
) -> Clock:
    """Returns when a recording of this `duration` began. `details` is the JSON of `recording_details`.

    `first` is when the first thing was said, and `last` when the last one ended, as far as they are known.
    """
    if (told := _told_start(details, created_at)) is not None:
        return Clock(told, "recording")
    start = created_at
    if duration is not None and last is not None:
        start = max(start, last - duration)
    if first is not None and not start <= first <= start + _MOST_SILENCE_SECONDS:
        start = first
    return Clock(start, "conversation" if abs(start - created_at) <= _SAME_SECONDS else "speech")


def _told_start(details: str | None, created_at: float) -> float | None:
    """Returns the start that the details of a recording tell, if it is near the conversation."""
    try:
        found = None if details is None else msgspec.json.decode(details)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    one = found[0] if isinstance(found, list) and found else found
    if not isinstance(one, dict):
        return None
    for name in _STARTS:
        for seconds in _seconds_of(one.get(name)):
            if abs(seconds - created_at) <= _MOST_SECONDS_APART:
                return seconds
    return None


def _seconds_of(value: Any) -> tuple[float, ...]:
    """Returns the times that a value may mean."""
    if isinstance(value, str):
        try:
            return (parse_timestamp(value) / SECOND,)
        except ValueError:
            return ()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value), value / 1000
    return ()
