"""Simulates the source of a world: every version of its conversations, and its changes while it is read."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from exporter.contract import DAY, SECOND, Instant
from exporter.sandbox import Row, Sandbox
from exporter.sandbox.render import served_instant
from tests.jobs.moving import transcript
from tests.simulation.material import LATER_STATUSES, T0, dense_rows, random_behaviour, random_row, random_rows
from tests.simulation.quirks import Quirks

_FAR_AHEAD = 70 * 365 * DAY


@dataclass(frozen=True)
class Version:
    """Holds what a conversation was from `since` on (by the server's clock).

    `placed` means that it is new, or has another `created_at`; `told`, that its `updated_at` shows the change.
    """

    since: Instant
    row: Row
    placed: bool = False
    told: bool = True


class Source:
    """Holds a server, every version of its conversations, and those that were never deleted for good (`stable`)."""

    def __init__(
        self,
        chance: random.Random,
        quirks: Quirks,
        wall_clock: Callable[[], Instant],
        seconds: Callable[[], float],
    ) -> None:
        self._chance = chance
        self._quirks = quirks
        self._wall_clock = wall_clock
        self.behaviour = random_behaviour(chance)
        rows = random_rows(chance)
        if any(family in quirks for family in ("bounds", "pages", "order", "precision")):
            rows += dense_rows(quirks.chance)
        if "bounds-finer" in quirks:
            for row in rows:
                row.tenths = quirks.chance.randint(0, 9)
        self.versions = {str(row.fields["id"]): [Version(0, row, placed=True)] for row in rows}
        self.stable = set(self.versions)
        self.server = Sandbox(rows, self.behaviour, wall_clock, seconds)
        self._styles: set[tuple[str, str]] = set()
        self._gone: dict[str, Row] = {}

    def begin_run(self, revoked_after: int | None) -> None:
        """Sets the behaviour of the server in the run that is about to begin."""
        switches = self._quirks.switches_of_a_run()
        behaviour = msgspec.structs.replace(self.behaviour, revoked_after=revoked_after, **switches)
        self.server.behaviour = behaviour
        for one in (behaviour, behaviour.at(behaviour.changes_after + 1)):
            self._styles.add((one.precision, one.rounding))

    def served(self, row: Row) -> set[Instant]:
        """Returns each `created_at` that a row may have been served with."""
        return {served_instant(row.created_at, *style) for style in self._styles}

    def times_of(self, identity: str) -> set[Instant]:
        """Returns each `created_at` that a conversation may ever have been served with."""
        return set().union(*(self.served(version.row) for version in self.versions.get(identity, ())))

    def most_rows(self) -> int:
        """Returns how many rows the server shows at once, whatever is asked for."""
        return min(self.behaviour.page_cap or 1000, 3 if self.behaviour.page_bytes else 1000)

    def rows_near(self, instant: Instant, span: Instant) -> int:
        """Returns how many conversations have ever been within `span` of `instant`."""
        return sum(
            any(abs(version.row.created_at - instant) <= span for version in versions)
            for versions in self.versions.values()
        )

    # Changes.

    def move(self) -> None:
        """Makes a conversation come, change or go."""
        now = self._wall_clock()
        identity = self._chance.choice(sorted(self.versions) or ["none"])
        rows = {str(row.fields["id"]) for row in self.server.rows}
        move = self._chance.random()
        if move < 0.2:
            created_at = T0 + self._chance.randint(0, 3 * DAY)
            if "clock" in self._quirks and self._quirks.chance.random() < 0.5:
                created_at = now - self._quirks.chance.randint(0, 30 * SECOND)
            self._insert(random_row(self._chance, f"n{len(self.versions)}", created_at, updated_at=now), now)
        elif identity not in rows:
            if "moves-return" in self._quirks and identity in self._gone:
                self._insert(self._changed(self._gone.pop(identity), now, now), now)
        elif move < 0.4:
            self._gone[identity] = self.server.delete(identity)
            self.stable.discard(identity)
        else:
            self._change(self.server.delete(identity), now)

    def _insert(self, row: Row, now: Instant) -> None:
        identity = str(row.fields["id"])
        self.versions.setdefault(identity, []).append(Version(now, row, placed=True))
        self.stable.add(identity)
        self.server.insert(row)

    def _change(self, old: Row, now: Instant) -> None:
        quirks, chance = self._quirks, self._quirks.chance
        created_at, updated_at, told = old.created_at, now, True
        if "moves" in quirks and chance.random() < 0.6:
            if "moves-created" in quirks:
                midnight = created_at // DAY * DAY
                steps = (created_at - 1, created_at + 1, midnight - 1, midnight, created_at - DAY, created_at + DAY)
                created_at = chance.choice((*steps, T0 + chance.randint(0, 3 * DAY)))
            elif "moves-future" in quirks:
                # The next change of the row corrects it.
                updated_at = now + _FAR_AHEAD
            elif "moves-still" in quirks:
                updated_at, told = old.updated_at, False
            elif "moves-back" in quirks:
                updated_at, told = old.updated_at - chance.choice((1, SECOND, DAY)), False
        row = self._changed(old, now, updated_at, created_at)
        version = Version(now, row, placed=created_at != old.created_at, told=told)
        self.versions[str(old.fields["id"])].append(version)
        self.server.insert(row)

    def _changed(self, old: Row, now: Instant, updated_at: Instant, created_at: Instant | None = None) -> Row:
        identity = old.fields["id"]
        changed = {"summary": f"{identity} {now}", "conversation": transcript(now // 1000)}
        fields = {**old.fields, **changed, "status": self._chance.choice(LATER_STATUSES)}
        return Row(old.created_at if created_at is None else created_at, updated_at, fields, tenths=old.tenths)
