"""Makes a whole world from one number: conversations, a server with its quirks, a network, a disk, and fates of runs.

A world exports into one destination and syncs it, run after run, most of which end as their fate says, until it is
complete. In between and at the end it checks what the exporter promises.
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from exporter.contract import BEGINNING, DAY, HOUR, SECOND, Instant
from exporter.errors import AccessError, ContradictionError, ExporterError, UsageError
from exporter.jobs.protect import ProtectResult
from exporter.jobs.rekey import RekeyResult
from exporter.jobs.summary import Summary
from exporter.keys import Keys
from exporter.log.state import State, state_name
from exporter.model import TABLES
from exporter.privacy import EncryptionMode, Policy
from exporter.settings import PartitionBy, RunSettings, Selection
from tests.simulation.disk import SimulatedDisk
from tests.simulation.loop import SimulatedLoop
from tests.simulation.material import STATUSES, T0
from tests.simulation.promises import (
    check_doubts,
    check_exact,
    check_journal,
    check_little_is_lost,
    check_nobody_is_back,
    check_order,
    check_sound,
    stored_ids,
)
from tests.simulation.quirks import Ending, Quirks
from tests.simulation.run import FATES, Fate, Run
from tests.simulation.source import Source
from tests.toolkit.encrypted import data_key, encryption_with, keys_with
from tests.toolkit.protected import POLICY, tag_of

NOW: Final = T0 + 10 * DAY
#: How a run ends that takes rows away for good.
FATES_OF_ERASURES: Final[tuple[Fate, ...]] = (
    "calm",
    "kill",
    "kill-at-write",
    "kill-at-write",
    "power-at-write",
    "power-at-write",
    "disk",
    "full",
)
TAKING_AWAY_LIKELIHOOD: Final = float(os.environ.get("EXPORTER_WORLDS_TAKING_AWAY", "0.4"))
KEYS_LIKELIHOOD: Final = float(os.environ.get("EXPORTER_WORLDS_KEYS", "0.15"))
LISTS_LIKELIHOOD: Final = float(os.environ.get("EXPORTER_WORLDS_IN_LISTS", "0.2"))


@dataclass
class World:
    """Holds everything that exists in it, made from `seed`; files are below `root`."""

    seed: int
    root: Path
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.destination = self.root / "export"
        self.elapsed_seconds = 0.0
        self.loop: SimulatedLoop | None = None
        self.disk = SimulatedDisk(self.root, self.chance)
        self.disk.on_link = lambda file, name: check_order(self.disk, self.destination, file, name)
        self.quirks = Quirks(self.seed)
        self.source = Source(self.chance, self.quirks, self.wall_clock, self.seconds)
        self.moves = self.chance.random() < 0.5 or "moves" in self.quirks or "clock" in self.quirks
        self.ending: Ending = "exact"
        since = self.chance.choice((None, T0, T0, T0, T0 + 5 * HOUR + 1))
        until = self.chance.choice((None, T0 + DAY, T0 + 3 * DAY))
        if "clock" in self.quirks:
            # Only rows that are created now tell what time it is.
            until = None
        partition_by: PartitionBy = self.chance.choice(("day", "day", "hour", "month", "none"))
        tables = self.chance.choice((None, None, TABLES))
        # All values of a filter, which is every conversation, as lists between which they move while they are read.
        is_in_lists = random.Random(f"lists {self.seed}").random() < LISTS_LIKELIHOOD
        # Drawn apart, so that the worlds that a test names have none of it, and are as they were.
        private = random.Random(f"privacy 61 {self.seed}")
        policy: Policy | None = private.choice((None, POLICY))
        self.takes_away = private.random() < TAKING_AWAY_LIKELIHOOD
        self.age_days = private.choice((8, 9))
        mode: EncryptionMode | None = private.choice((None, None, "uniform", "columns"))
        #: The key with which parts are encrypted, unless another one is taking its place.
        self.data_key = None if mode is None else data_key("d1")
        encryption = None if mode is None or self.data_key is None else encryption_with(mode, self.data_key)
        self.chosen = ""
        self.chance_of_keys = random.Random(f"keys {self.seed}")
        self.erased: set[str] = set()
        filters = {"status": tuple(sorted(STATUSES))} if is_in_lists else None
        self.asked = Selection(
            since=since,
            until=until,
            filters=filters,
            partition_by=partition_by,
            tables=tables,
            policy=policy,
            encryption=encryption,
        )
        self.settings = RunSettings(
            base_url="http://127.0.0.1:1",
            concurrency=self.chance.choice((1, 2, 3, 6)),
            page_size=self.chance.choice((2, 3, 7, 7, 20, 1000)),
            target_part_bytes=self.chance.choice((1, 20_000, 1 << 28)),
            max_rps=self.chance.choice((None, None, 1.0, 20.0)),
            lag_seconds=self.chance.choice((0, 60, 60)),
        )

    @property
    def keys(self) -> Keys:
        return keys_with(self.data_key)

    def now(self) -> float:
        """Returns the seconds since the run began; 0 between runs."""
        return 0.0 if self.loop is None else self.loop.time()

    def seconds(self) -> float:
        return self.elapsed_seconds + self.now()

    def wall_clock(self) -> Instant:
        return NOW + round(self.seconds() * SECOND)

    def live(self) -> None:
        """Runs until an export is finished; raises `AssertionError` if a promise was broken."""
        for _ in range(self.chance.randint(0, 4)):
            run = Run(self, self.chance.choice(FATES))
            run.live()
            self._check(run)
            if self.takes_away:
                self._take_away()
            if self.chance_of_keys.random() < KEYS_LIKELIHOOD:
                self._protect_or_encrypt()
        for _ in range(3):
            if self._has_ended(Run(self, "calm")):
                break
        else:
            raise AssertionError("three runs in peace did not finish")
        if self.ending != "refused" and ("moves" in self.quirks or "clock" in self.quirks):
            # The next sync finds what has moved meanwhile, because nothing moves any longer.
            self.elapsed_seconds += 2 * HOUR / SECOND
            self.moves = False
            assert self._has_ended(Run(self, "calm"), syncs=True), "a sync in peace did not finish"

    def _take_away(self) -> None:
        """Erases a conversation that is there, or lets the older ones expire; it may be cut short anywhere."""
        there = stored_ids(self.destination)
        if not there:
            return
        self.chosen = self.chance.choice(sorted(there))
        run = Run(self, self.chance.choice(FATES_OF_ERASURES))
        range_ = check_sound(self.destination).range
        # All of it would be refused.
        some_stay = range_ is not None and range_.end > self.wall_clock() - self.age_days * DAY + HOUR
        run.live([run.expire if some_stay and self.chance.random() < 0.3 else run.erase])
        self._check(run)

    def _protect_or_encrypt(self) -> None:
        """Protects what is stored raw, or encrypts all with another key; what is cut short is then finished."""
        if not stored_ids(self.destination):
            return
        privacy = check_sound(self.destination).privacy
        is_raw, is_older = privacy.policy is None, privacy.key_name != "d2"
        if not (is_raw or is_older):
            return
        encrypts = is_older and (not is_raw or self.chance_of_keys.random() < 0.5)
        for fate in (self.chance_of_keys.choice(FATES_OF_ERASURES), "calm"):
            run = Run(self, fate)
            done = run.live([run.rekey if encrypts else run.protect])
            state = self._check(run)
        assert isinstance(done, RekeyResult if encrypts else ProtectResult), done
        assert all(map(state.privacy.is_protected, state.files.values()))
        check_nobody_is_back(self.destination, state, self.erased, is_at_rest=True)
        if encrypts:
            self.data_key = data_key("d2")
        # What is stored is followed by runs that ask for neither.
        self.asked = msgspec.structs.replace(self.asked, policy=None, encryption=None)

    def _ask_for_what_is_kept(self, state: State) -> None:
        """Leaves out of the request what is refused, because it has expired."""
        floor, asked = state.privacy.floors.get("conversations", BEGINNING), self.asked
        since = asked.since if asked.since is None or asked.since >= floor else None
        until = asked.until if asked.until is None or asked.until > floor else None
        self.asked = msgspec.structs.replace(asked, since=since, until=until)

    def _has_ended(self, run: Run, *, syncs: bool = False) -> bool:
        """Returns whether `run`, in peace, is the last one that is needed; it must end as is right for this world."""
        end = run.live([run.sync] if syncs else ())
        state = self._check(run)
        if isinstance(end, Summary):
            check_journal(self.destination, state, end.exit_status)
            check_nobody_is_back(self.destination, state, self.erased, is_at_rest=True)
        if state_name(state) != "incomplete":
            check_exact(self.destination, state, self.source)
            if "bounds" in self.quirks and self._worst() == "exact":
                check_doubts(state, self.source, self.quirks.span)
        if isinstance(end, ExporterError):
            self.ending = "refused" if self.is_refusal(end) else self.ending
            return self.is_refusal(end)
        self.ending = "named" if state.unproven else "exact"
        return isinstance(end, Summary) and end.state != "incomplete"

    def _worst(self) -> Ending:
        # How the server reads bounds and cursor cannot be told if it ignores one of them.
        ignores = set(self.source.behaviour.ignores) - {"fields"}
        return "refused" if ignores and self.quirks.drawn else self.quirks.worst

    def is_refusal(self, end: BaseException) -> bool:
        """Returns whether a run ended by refusing a server that it may refuse, or an age that leaves nothing.

        One that serves nothing, because all was deleted, looks as it does to the token of another organization.
        """
        if isinstance(end, UsageError) and "all would go" in str(end):
            return True
        if isinstance(end, AccessError) and "no conversation at all" in str(end):
            return not self.source.server.rows
        is_clock = "clock" in self.quirks and isinstance(end, UsageError) and "clock" in str(end)
        return self._worst() == "refused" and (is_clock or isinstance(end, ContradictionError))

    def _check(self, run: Run) -> State:
        """Checks what holds after any run, such as `run`, which was the last one."""
        state = check_sound(self.destination)
        known = self.source.versions.keys()
        self.erased = {one for one in known if tag_of("tombstone", one) in state.privacy.tombstones}
        self._ask_for_what_is_kept(state)
        # Nobody waits for them any longer.
        self.source.stable -= self.erased
        check_nobody_is_back(self.destination, state, self.erased)
        # What an overtaken run has read, the other run reads again.
        if run.settled and not run.was_shared:
            floor = state.privacy.floors.get("conversations", BEGINNING)
            settled = {
                row: at
                for row, at in run.settled.items()
                if row not in self.erased and min(self.source.times_of(row)) >= floor
            }
            check_little_is_lost(self.destination, state, settled, run.ended_at)
        return state
