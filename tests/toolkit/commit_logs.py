"""Makes logs at random: commits of every kind, each of which fits what came before."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

from exporter.contract import BEGINNING
from exporter.coverage import Coverage, Interval
from exporter.errors import DamagedLogError
from exporter.log.acceptance import Acceptance
from exporter.log.fold import fold
from exporter.log.privacy import PrivacyChange
from exporter.log.state import Author, Commit, CommitKind, State
from exporter.model import Change, ChangesFile, Counters, DataFile, QuarantineFile, TableFormat, Unproven
from exporter.privacy import Encryption, Erasure, KeyReference, Policy, Rule
from exporter.settings import Request

KINDS: Final[tuple[CommitKind, ...]] = get_args(CommitKind)
_END: Final = 200
_DAY: Final = 20


def random_log(seed: int, count: int) -> list[Commit]:
    """Returns up to `count` commits: what does not fit is left out."""
    made = _Maker(random.Random(seed))
    for _ in range(count):
        made.step()
    return made.commits


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self.chance, self.state, self.commits = chance, State(), list[Commit]()
        self.run, self.names = 0, 0

    def step(self) -> None:
        kind: CommitKind = "begin" if not self.commits else self.chance.choice(KINDS[1:])
        made: dict[str, Callable[[], dict[str, Any]]] = {"begin": self.begin, "widen": self.widen}
        fields = made.get(kind, getattr(self, kind, dict))()
        self.run += self.chance.random() < 0.3
        commit = Commit(
            format_version=self.chance.choice((1, 1, 1, 4)),
            number=self.state.number + 1,
            export_id="x",
            author=Author(run=f"run{self.run}", host="here", pid=self.run, software={"exporter": "1"}),
            committed_at=1000 + self.state.number * self.chance.choice((1, 1, 2)),
            kind=kind,
            **{"counters": self.counters(), **fields},
        )
        try:
            self.state = fold([commit], self.state)
        except DamagedLogError:
            return
        self.commits.append(commit)

    def counters(self) -> Counters:
        return Counters(
            requests=self.chance.randrange(9), completed=self.chance.randrange(2), seconds=self.chance.random()
        )

    def name(self) -> str:
        self.names += 1
        return f"run{self.run}-{self.names}"

    def part(self, start: int, end: int, table: str = "conversations", name: str = "", **fields: Any) -> DataFile:
        day = f"2026-01-{start // _DAY + 1:02d}"
        privacy = self.state.privacy
        values: dict[str, Any] = {
            "path": f"{table}/created_date={day}/part-{name or self.name()}.parquet",
            "rows": end - start,
            "size_bytes": 9,
            "sha256": f"{self.chance.getrandbits(256):064x}",
            "window": Interval(start, end),
            "table": table,
            "partition": {"created_date": day},
            "created_at_min": start,
            "created_at_max": end - 1,
            "absent": {"summary": 1} if self.chance.random() < 0.3 else {},
            "withheld_rows": self.chance.choice((0, 0, 0, end - start)),
            "open_rows": self.chance.randrange(2),
            "recorded_rows": self.chance.choice((None, 0, 2)),
            "policy": privacy.fingerprint,
            "key": privacy.key_name,
        }
        return DataFile(**{**values, **fields})

    def changed(self, **fields: Any) -> ChangesFile:
        path = f"_exporter/changes/{self.name()}.changes"
        key = self.state.privacy.key_name
        return ChangesFile(path=path, rows=1, size_bytes=2, sha256="c" * 64, updated=1, key=key, **fields)

    def quarantined(self, **fields: Any) -> QuarantineFile:
        path = f"_exporter/quarantine/{self.name()}.jsonl"
        return QuarantineFile(path=path, rows=1, size_bytes=2, sha256="d" * 64, **fields)

    def some(self, of: Any, most: int = 3) -> list[Any]:
        found = list(of)
        return self.chance.sample(found, min(len(found), self.chance.randint(1, most)))

    def begin(self) -> dict[str, Any]:
        chance = self.chance
        policy = Policy(rules={"summary": Rule(action="drop")}) if chance.random() < 0.2 else None
        encryption = Encryption(key=KeyReference(name="k1", env="K")) if chance.random() < 0.2 else None
        return {
            "request": Request(filters={"status": ("a", "b")}, tables=("conversations", "turns")),
            "range": Interval(chance.choice((0, 0, BEGINNING)), _END // 2),
            "privacy": PrivacyChange(policy=policy, encryption=encryption) if policy or encryption else None,
            "table_format": TableFormat(kind="delta") if chance.random() < 0.3 else None,
            "keep_generations": chance.choice((None, 0, 2)),
            "file_mode": chance.choice((None, "group")),
        }

    def widen(self) -> dict[str, Any]:
        range_ = self.state.range
        assert range_ is not None
        return {"range": Interval(max(range_.start - self.chance.randrange(9), BEGINNING), min(range_.end + 30, _END))}

    def export(self) -> dict[str, Any]:
        left = [one for one in self.state.left if one.end > 0]
        if not left:
            return {}
        hole = self.chance.choice(left)
        low, high = max(hole.start, 0), hole.end
        start = self.chance.randrange(low, high)
        end = min(high, start + self.chance.randint(1, 15), (start // _DAY + 1) * _DAY)
        conversations = self.part(start, end)
        turns = self.part(start, end, "turns", conversations.path.rpartition("part-")[2].removesuffix(".parquet"))
        doubt = Unproven(end - 1, self.chance.randrange(3), "equal times", self.chance.choice((None, start)))
        covers = Interval(hole.start if self.chance.random() < 0.2 else start, end)
        change = Change(
            covers=(covers,),
            adds=(conversations, turns) if self.chance.random() < 0.7 else (conversations,),
            quarantines=(self.quarantined(window=Interval(start, end)),) if self.chance.random() < 0.2 else (),
            unproven=(doubt,) if self.chance.random() < 0.3 else (),
            read_since=self.chance.choice((None, 1500, 1000 + self.state.number)),
            organization=self.chance.choice((None, "org")),
            hidden_status=self.chance.choice((None, "ongoing")),
            arrives=self.chance.random() < 0.3,
        )
        hydrated = self.chance.choice(((), ("summary",), ("events",)))
        return {"change": change, "hydrated": hydrated, "data_start": self.chance.choice((None, start))}

    def sync(self) -> dict[str, Any]:
        change = self.replaced(self.some(self.state.conversations))
        refreshed = self.some(self.state.coverage, 1)
        more: dict[str, Any] = {
            "refreshes": tuple(refreshed),
            "proves": tuple(self.some(self.state.coverage, 1)) if self.chance.random() < 0.3 else (),
            "read_since": 1000 + self.state.number,
            "settles": self.chance.random() < 0.5,
            "changed": (self.changed(),) if self.chance.random() < 0.6 else (),
        }
        return {"change": Change(**change, **more), "keep_generations": self.chance.choice((None, None, 1, 3))}

    def replaced(self, files: Sequence[DataFile], **fields: Any) -> dict[str, Any]:
        news = tuple(self.part(one.window.start, one.window.end, one.table, **fields) for one in files)
        return {"adds": news, "removes": tuple(one.path for one in files)}

    def compact(self) -> dict[str, Any]:
        day = self.chance.randrange(_END // _DAY)
        files = [one for one in self.state.conversations if one.window.start // _DAY == day]
        if not files:
            return {}
        merged = self.part(min(one.window.start for one in files), max(one.window.end for one in files))
        return {"change": Change(adds=(merged,), removes=tuple(one.path for one in files))}

    def repair(self) -> dict[str, Any]:
        hit = self.some(self.state.conversations, 2)
        spans = Coverage(one.window for one in hit)
        files = [
            one for one in self.state.files.values() if Coverage([one.window]) & spans and one.table != "recordings"
        ]
        holes = Coverage(one.window for one in files)
        told = (self.changed(),) if self.chance.random() < 0.5 else ()
        return {"change": Change(uncovers=holes.intervals, removes=tuple(one.path for one in files), changed=told)}

    def vacuum(self) -> dict[str, Any]:
        kept, told = sorted(self.state.kept), sorted(self.state.feed.told)
        change = Change(outdates=tuple(self.some(told, 1)))
        return {"forgets": tuple(self.some(kept)), "change": change}

    def reread(self) -> dict[str, Any]:
        change = self.replaced(self.state.conversations, withheld_rows=0)
        quarantined = self.some(self.state.quarantine.values(), 1)
        rest = tuple(self.quarantined(rest_of=one.path) for one in quarantined)
        removes = (*change["removes"], *(one.path for one in quarantined))
        return {"change": Change(adds=change["adds"], removes=removes, quarantines=rest, changed=(self.changed(),))}

    def accept(self) -> dict[str, Any]:
        return {"accepts": Acceptance(at=self.state.number, by="me", doubts=self.state.new_doubts, note="seen")}

    def recordings(self) -> dict[str, Any]:
        start = self.chance.randrange(_END // 2)
        part = self.part(
            start, start + 3, "recordings", media_files=2, media_bytes=5, statuses={"stored": 2}, policy=""
        )
        gone = self.some(self.state.recordings, 1) if self.chance.random() < 0.4 else []
        looked_at = dict.fromkeys(self.some(self.state.changed_at), self.state.number)
        change = Change(adds=(part,), removes=tuple(one.path for one in gone), looked_at=looked_at)
        return {"change": change, "keeps_recordings": self.chance.choice((None, True, False))}

    def protect(self) -> dict[str, Any]:
        policy = Policy(rules={"summary": Rule(action="hash", domain="d")}, key=KeyReference(name="p", file="f"))
        return {
            "privacy": PrivacyChange(policy=policy),
            "change": Change(**self.replaced(self.some(self.state.conversations))),
        }

    def rekey(self) -> dict[str, Any]:
        told = self.some(self.state.changes.values(), 2)
        change = self.replaced(self.some(self.state.conversations))
        again = tuple(self.changed(in_place_of=one.path) for one in told)
        return {"change": Change(**change, changed=again, outdates=tuple(one.path for one in told))}

    def erase(self) -> dict[str, Any]:
        begun = [one.certificate for one in self.state.privacy.unfinished]
        if begun and self.chance.random() < 0.5:
            erasure = Erasure(certificate=begun[0], sha256="f" * 64, finished=True)
            return {"privacy": PrivacyChange(erasure=erasure)}
        number = self.state.number + 1
        erasure = Erasure(
            certificate=f"_exporter/erasures/{number:08d}.json",
            sha256="e" * 64,
            key=KeyReference(name="e", env="E"),
            tombstones=(f"t{number}", "u"),
        )
        change = Change(
            removes=tuple(one.path for one in self.some(self.state.conversations, 1)), changed=(self.changed(),)
        )
        forgets = tuple(self.some(sorted(self.state.kept), 2))
        return {"privacy": PrivacyChange(erasure=erasure), "change": change, "forgets": forgets}

    def expire(self) -> dict[str, Any]:
        range_ = self.state.range
        assert range_ is not None
        floor = self.chance.randrange(max(range_.start, 1), max(range_.start, 1) + 25)
        files = [one for one in self.state.live.values() if isinstance(one, DataFile) and one.window.start < floor]
        keep = [self.part(floor, one.window.end, one.table) for one in files if one.window.end > floor]
        gone = Coverage([Interval(BEGINNING, floor)]) & self.state.coverage
        change = Change(uncovers=gone.intervals, adds=tuple(keep), removes=tuple(one.path for one in files))
        floors = {"conversations": floor} if self.chance.random() < 0.8 else {"summary": floor}
        privacy = PrivacyChange(floors=floors, retention={"conversations": 9} if self.chance.random() < 0.5 else None)
        if "summary" in floors:
            return {"privacy": privacy, "change": Change(**self.replaced(self.some(self.state.conversations)))}
        return {"privacy": privacy, "change": change, "range": Interval(floor, max(range_.end, floor + 1))}
