"""A year of nights with a policy, retention, monthly erasures and a key a quarter leaves nobody to be seen again.

EXPORTER_THOROUGH=1 pytest -s -n 0 tests/end_to_end/test_private_nights.py          the whole year
EXPORTER_PRIVATE_NIGHTS=90 pytest …                                                 as many nights
"""

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from exporter.contract import DAY, HOUR, MINUTE, Instant
from exporter.keys import DATA_VARIABLE, NEW_DATA_VARIABLE, PRIVACY_VARIABLE, Key
from tests.end_to_end.conftest import Command, CommandResult, Serving
from tests.end_to_end.records import SINCE
from tests.toolkit.callers import Callers
from tests.toolkit.canaries import Canary
from tests.toolkit.canary_search import find_canaries
from tests.toolkit.encrypted import check_closed, data_key, opened_with, text_of
from tests.toolkit.policies import key_text, write_policy
from tests.toolkit.sizes import size_of

NIGHTS = size_of(11, 365, "EXPORTER_PRIVATE_NIGHTS")
#: The nights between two erasures and between two keys, and the age at which calls expire.
MONTH, QUARTER, KEPT_DAYS = size_of(4, 30), size_of(5, 91), size_of(8, 90)
PEOPLE = 30
TABLES = {"conversations": "id", "turns": "conversation_id", "recordings": "conversation_id"}


@dataclass
class Nights:
    """Lives through nights: callers call, change and are forgotten, and the export follows.

    `forgotten` are the calls that must never be seen again, and `strangers` the people whose new calls must not be.
    Nothing is encrypted before the first `key`.
    """

    root: Path
    command: Command
    environment: pytest.MonkeyPatch
    callers: Callers
    now: Instant = SINCE
    floor: Instant = 0
    forgotten: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    said: int = 0
    key: Key | None = None

    @property
    def out(self) -> Path:
        return self.root / "out"

    def run(self, name: str, *options: str | Path) -> CommandResult:
        done = self.command(name, self.out, *options, server=self.callers.server)
        self.said += 1
        (self.root / f"said-{self.said}").write_text(f"{done.out}\n{done.err}")
        assert done.status == 0, (name, self.said, done.out, done.err)
        return done

    def pass_by(self) -> None:
        """Lets a day pass: there are new calls, some calls change, old ones among them, and some are deleted."""
        callers, chance = self.callers, self.callers.chance
        self.now += DAY
        for _ in range(2):
            name = callers.call(self.now - chance.randint(2 * MINUTE, DAY), f"p{chance.randrange(PEOPLE)}")
            if callers.person_of[name] in self.strangers:
                self.forgotten.add(name)
        at = self.now - 2 * MINUTE
        for name in chance.sample(sorted(callers.rows), min(2, len(callers.rows))):
            callers.change(name, at)
        if chance.random() < 0.05:
            callers.call(self.now - chance.randint(1, 2 * KEPT_DAYS) * DAY, at=at)

    def sync(self) -> None:
        self.run("sync")
        self.floor = self.now - KEPT_DAYS * DAY

    def rekey(self) -> None:
        """Encrypts all with a new key, which is the only one from then on."""
        new = data_key("d1" if self.key is None else f"d{int(self.key.name[1:]) + 1}")
        self.environment.setenv(NEW_DATA_VARIABLE, text_of(new))
        self.run("rekey", "--to", new.name)
        self.environment.delenv(NEW_DATA_VARIABLE)
        self.environment.setenv(DATA_VARIABLE, text_of(new))
        self.key = new

    def open_parquet(self, path: Path) -> pq.ParquetFile:
        return opened_with(*(() if self.key is None else (self.key,)))(path)

    def erase(self, *, future: bool) -> None:
        """Erases a person, and checks what the certificate says of it against what was there."""
        there, reference = self.read(), f"T-{self.said}"
        person = self.callers.chance.choice(sorted({self.callers.person_of[name] for name in self.names(there)}))
        stored = {name for name in self.names(there) if self.callers.person_of[name] == person}
        ids = set(map(self.callers.id_of, stored))
        values = self.root.parent / "values"
        values.write_text(f"{self.callers.people[person].user_id}\n")
        before = set((self.out / "_exporter" / "erasures").glob("*"))
        options = ("--by", "user_id", "--values-from", values, "--reference", reference)
        self.run("erase", *options, *(["--future"] if future else []))
        self.forgotten |= stored
        if future:
            self.strangers.add(person)
            self.forgotten |= set(self.callers.calls_of(person))
        (certificate,) = set((self.out / "_exporter" / "erasures").glob("*")) - before
        said = json.loads(certificate.read_bytes())
        counted = {table: sum(one in ids for one in found.elements()) for table, found in there.items()}
        erased = said["erased"]
        assert (erased["conversations"], erased["turns"]) == (counted["conversations"], counted["turns"])
        assert said["proof"] is not None
        assert said["reference"] == reference
        after = self.read()
        assert not any(one in ids for found in after.values() for one in found)
        assert after["conversations"].total() == there["conversations"].total() - counted["conversations"]

    def read(self) -> dict[str, Counter[str]]:
        """Returns how often each conversation is in each table, by its id, in whatever file of Parquet there is."""
        found: dict[str, Counter[str]] = {table: Counter() for table in TABLES}
        for path in self.out.rglob("*.parquet"):
            table = path.relative_to(self.out).parts[0]
            found[table].update(self.open_parquet(path).read([TABLES[table]])[0].to_pylist())
        return found

    def names(self, found: dict[str, Counter[str]]) -> list[str]:
        ids = {self.callers.id_of(name): name for name in self.callers.rows}
        return [ids[one] for one in found["conversations"]]

    def never(self) -> list[Canary]:
        """Returns the canaries that must be nowhere, ids among them: of who was forgotten, and of what has expired."""
        rows = self.callers.rows.items()
        gone = self.forgotten | {name for name, row in rows if row.created_at < self.floor}
        return self.callers.canaries.of(*gone)

    def check(self) -> None:
        """Checks that what must be there is there, once, and nothing else, and that no canary is anywhere."""
        canaries = self.callers.canaries
        assert find_canaries(self.root, canaries, open_parquet=self.open_parquet) == []
        # Readers of changes have followed: until they have, they need the ids of what they must delete.
        self.run("vacuum", "--older-than", "0s")
        assert find_canaries(self.root, canaries, self.never(), self.open_parquet) == []
        end = self.now - MINUTE
        expected = {
            self.callers.id_of(name)
            for name, row in self.callers.rows.items()
            if self.floor <= row.created_at < end and name not in self.forgotten
        }
        if self.key is not None:
            for path in self.out.rglob("*.parquet"):
                check_closed(path)
        there = self.read()["conversations"]
        assert set(there) == expected
        assert set(there.values()) <= {1}
        self.run("audit")
        self.run("verify")
        self.check_certificates()

    def check_certificates(self) -> None:
        """Checks that each certificate names the one before it by its hash, and that the log names the last."""
        last: str | None = None
        for path in sorted((self.out / "_exporter" / "erasures").glob("*.json")):
            data = path.read_bytes()
            certificate = json.loads(data)
            assert certificate["previous"] == last
            last = hashlib.sha256(data).hexdigest()


@pytest.fixture
def nights(tmp_path: Path, command: Command, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    monkeypatch.setenv(PRIVACY_VARIABLE, key_text())
    (tmp_path / "root").mkdir()
    nights = Nights(tmp_path / "root", command, monkeypatch, Callers(serving(()), random.Random(7)))
    # The machine, the server and the exporter have one clock.
    monkeypatch.setattr(time, "time_ns", lambda: nights.now * 1000)
    yield nights


def test_a_year_of_nights(nights: Nights) -> None:
    policy = write_policy(nights.root.parent / "policy.toml")
    for day in range(KEPT_DAYS):
        nights.callers.call(SINCE - day * DAY - HOUR, f"p{day % PEOPLE}")
    nights.run("export", "--policy", policy, "--expire", f"{KEPT_DAYS}d", "--tables", "conversations,turns")
    for night in range(1, NIGHTS + 1):
        nights.pass_by()
        nights.sync()
        if night % MONTH == 0:
            nights.erase(future=night % (2 * MONTH) == 0)
            nights.check()
        if night % MONTH == MONTH // 2:
            nights.run("compact")
        if night % QUARTER == 0:
            nights.rekey()
    nights.check()
    assert nights.forgotten and nights.strangers and nights.key
