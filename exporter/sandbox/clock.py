"""Tells the server's time: by its own clock, and as it says in the header `Date` (source.md, 15)."""

import random
from email.utils import formatdate
from typing import Final

from exporter.clock import wall_clock
from exporter.contract import SECOND, Instant
from exporter.sandbox.behaviour import Behaviour

_MALFORMED: Final = "Thu, 32 Jan 2026 25:00:00 GMT"


def system_clock() -> Instant:
    """Returns the time by this machine's clock."""
    return wall_clock()


def date_header(behaviour: Behaviour, position: int, now: Instant, first: Instant) -> str | None:
    """Returns the `Date` of the answer to request `position`, or None; `first` is when the first one was answered."""
    if behaviour.date == "absent":
        return None
    if behaviour.date == "malformed":
        return _MALFORMED
    is_ahead = behaviour.date in ("steady", "frozen") or (behaviour.date == "first" and position == 1)
    if behaviour.date == "jumping":
        is_ahead = random.Random(f"{behaviour.seed} {position}").random() < 0.5
    shown = first if behaviour.date == "frozen" else now
    return formatdate(shown / SECOND + behaviour.date_ahead * is_ahead, usegmt=True)
