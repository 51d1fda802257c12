"""Lets conversations come, change and go while they are served, as in a call centre at work.

What happens, and how long after the start, follows from the seed, the rate and the rows alone. Nothing runs by itself:
whatever is due has happened as soon as somebody looks, which from outside is the same.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exporter.contract import SECOND, Instant, format_instant
from exporter.errors import UsageError
from exporter.sandbox.conversations import ORGANIZATION, make_another
from exporter.sandbox.rows import Row
from exporter.sandbox.server import Sandbox

_KINDS: Final = ("create", "change", "delete")
_WEIGHTS: Final = (5, 4, 1)
#: About as many conversations begin in progress as end, so that their number stays steady.
_BEGINS_OPEN: Final = 0.5
_CHANGES_OPEN: Final = 0.8
_GROWS: Final = 0.25
_HEARD_FIRST, _HEARD_LATER = 0.3, 0.6

_UNITS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_RATE: Final = re.compile(rf"(\d+(?:\.\d+)?)/({'|'.join(_UNITS)})", re.ASCII)
_MOST_PER_SECOND: Final = 1000.0


def parse_rate(text: str) -> float:
    """Returns the events a second that `5/s`, `20/min` or `300/h` means. Raises `UsageError`."""
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) / _UNITS[match[2]] if match else 0.0
    if not 0 < rate <= _MOST_PER_SECOND:
        raise UsageError(
            f"--live {text!r}: must be a rate such as 5/s, 20/min or 300/h, above 0 and up to {_MOST_PER_SECOND:.0f}/s"
        )
    return rate


@dataclass(slots=True)
class _Open:
    """Holds a conversation in progress: as it is served now, as it will be in the end, and the share of it so far."""

    row: Row
    final: Mapping[str, object]
    heard: float


class Life:
    """Creates, changes and deletes conversations of an organization, this many in all a second from `start` on.

    Half of the events are new conversations. Many of these are in progress: their transcripts grow, then their status
    becomes final. Others change when they are long over, and one event in ten deletes one, whose id answers 404 then.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        events_per_second: float,
        start: Instant,
        seed: int = 0,
        organization: str = ORGANIZATION,
    ) -> None:
        self.created = self.changed = self.deleted = 0
        self._sandbox = sandbox
        self._seed = seed
        self._organization = organization
        self._rng = random.Random(f"{seed} events")
        self._start = start
        self._pause = SECOND / events_per_second
        self._events = 0
        self._over = list(sandbox.rows_of(organization))
        self._made = len(self._over)
        self._open: list[_Open] = []
        self._next_at = self._choose_time()

    def advance(self, now: Instant) -> None:
        """Lets everything happen that is due by `now`."""
        while self._next_at <= now:
            (kind,) = self._rng.choices(_KINDS, _WEIGHTS)
            if kind == "change" and (self._open or self._over):
                self._change(self._next_at)
            elif kind == "delete" and self._over:
                self._replace(self._take())
                self.deleted += 1
            else:
                self._create(self._next_at)
            self._events += 1
            self._next_at = self._choose_time()

    def _choose_time(self) -> Instant:
        return self._start + int((self._events + self._rng.random()) * self._pause)

    def _create(self, at: Instant) -> None:
        final = make_another(self._made, at, seed=self._seed, organization=self._organization).content()
        self._made += 1
        self.created += 1
        if final["conversation"] is not None and self._rng.random() < _BEGINS_OPEN:
            row = Row(at, at, _so_far(final, _HEARD_FIRST))
            self._open.append(_Open(row, final, _HEARD_FIRST))
        else:
            row = Row(at, at, final)
            self._over.append(row)
        self._sandbox.insert(row, self._organization)

    def _change(self, at: Instant) -> None:
        self.changed += 1
        if not self._over or (self._open and self._rng.random() < _CHANGES_OPEN):
            self._go_on(self._rng.randrange(len(self._open)), at)
            return
        old = self._take()
        fields = old.content()
        metadata = fields["custom_metadata"]
        known = metadata if isinstance(metadata, dict) else {}
        self._over.append(
            Row(old.created_at, at, fields | {"custom_metadata": known | {"reviewed": format_instant(at)}})
        )
        self._replace(old, self._over[-1])

    def _go_on(self, position: int, at: Instant) -> None:
        """Lets a conversation in progress grow, or end."""
        going, old = self._open[position], self._open[position].row
        if going.heard < _HEARD_LATER and self._rng.random() < _GROWS:
            going.heard = _HEARD_LATER
            going.row = Row(old.created_at, at, _so_far(going.final, _HEARD_LATER))
        else:
            going.row = Row(old.created_at, at, going.final)
            self._over.append(going.row)
            del self._open[position]
        self._replace(old, going.row)

    def _replace(self, old: Row, *new: Row) -> None:
        self._sandbox.replace(old, *new, organization=self._organization)

    def _take(self) -> Row:
        """Takes any conversation that is over out of the list of these."""
        position = self._rng.randrange(len(self._over))
        self._over[position], self._over[-1] = self._over[-1], self._over[position]
        return self._over.pop()


def _so_far(final: Mapping[str, Any], share: float) -> dict[str, object]:
    """Returns a conversation while it is in progress, with a share of what will be said."""
    items = final["conversation"]["items"]
    heard = items[: max(2, int(len(items) * share))]
    return {
        **final,
        "status": "in_progress",
        "duration": None,
        "summary": None,
        "recording_details": None,
        "user_turn_count": sum(item.get("role") == "user" for item in heard),
        "conversation": {"items": heard},
    }
