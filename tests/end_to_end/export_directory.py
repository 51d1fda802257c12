"""Reads a destination by nothing but its manifest and its files, and checks that all of it is sound."""

import hashlib
import json
import stat
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pyarrow.parquet as pq

from exporter.contract import BEGINNING, Instant, parse_timestamp
from exporter.layout import checkpoint_number, commit_number
from exporter.log.commits import StoredCommit, load_state
from exporter.log.state import Commit, State
from exporter.privacy import Policy
from exporter.store.local.store import LocalStore
from exporter.verification.checkpoints import inspect_checkpoints
from tests.end_to_end.records import Record, microseconds
from tests.toolkit.canary_search import OpenParquet
from tests.toolkit.encrypted import lines_of
from tests.toolkit.protected import protected_turns
from tests.toolkit.turns_model import alike, read_turns, turns_of

_FORMATS = {
    "created_date": "%Y-%m-%d",
    "created_hour": "%Y-%m-%dT%H",
    "created_week": "%G-W%V",
    "created_month": "%Y-%m",
}


class ExportDirectory:
    """Reads an export as its readers do. `open_parquet` has the key of one that is encrypted, and `policy` is the one
    that it follows."""

    def __init__(self, root: Path, open_parquet: OpenParquet = pq.ParquetFile, policy: Policy | None = None) -> None:
        self.root = root
        self._open = open_parquet
        self._policy = policy
        self.manifest: dict[str, Any] = json.loads((root / "_manifest.json").read_bytes())
        self.files: list[dict[str, Any]] = self.manifest["tables"]["conversations"]["files"]
        self.turns: list[dict[str, Any]] = self.manifest["tables"].get("turns", {"files": []})["files"]
        self.recordings: list[dict[str, Any]] = self.manifest["tables"].get("recordings", {"files": []})["files"]
        self.parts = [*self.files, *self.turns, *self.recordings]

    @property
    def state(self) -> str:
        return str(self.manifest["state"])

    @property
    def coverage(self) -> list[tuple[Instant, Instant]]:
        return [parse_interval(interval) for interval in self.manifest["coverage"]]

    def records(self) -> dict[str, Record]:
        """Returns every row by its id, which no other row may have."""
        found: dict[str, Record] = {}
        for file in self.files:
            for record in self._open(self.root / file["path"]).read().to_pylist():
                assert record["id"] not in found, f"{record['id']} is there twice"
                found[record["id"]] = record
        return found

    def quarantined(self) -> list[dict[str, str]]:
        """Returns the lines of every quarantine file that the manifest names."""
        lines = []
        for file in self.manifest["quarantine"]["files"]:
            lines += lines_of(self.root / file["path"])
        return [json.loads(line) for line in lines]

    def check(self, expected: Mapping[str, Record]) -> None:
        """Checks that all files are sound, the whole range is covered, and the rows are `expected`, in every field."""
        self.check_sound()
        assert self.state in ("complete", "unproven")
        assert self.coverage == [parse_interval(self.manifest["range"])]
        assert_same(self.records(), expected)

    def check_sound(self, kept: Collection[str] = ()) -> None:
        """Checks that the manifest is true of every byte and name, whether the export is complete or not.

        `kept` are files that remain for readers of older manifests.
        """
        self.check_shown()
        self._check_tree(kept)
        assert list((self.root / "_exporter" / "staging").iterdir()) == []

    def check_shown(self) -> None:
        """Checks that everything the manifest names exists as it says, whatever a killed run has left beside it."""
        for file in self.files:
            self._check_file(file, "conversations", "created_at")
        for file in self.turns:
            self._check_file(file, "turns", "conversation_created_at")
        for file in self.recordings:
            self._check_file(file, "recordings", "conversation_created_at")
        self._check_turns()
        self._check_media()
        self._check_windows()
        self._check_totals()
        check_private(self.root)

    def _check_turns(self) -> None:
        """Checks that the turns are those of the transcripts, part by part, in the same order."""
        if "turns" not in self.manifest["tables"]:
            return
        beside = {file["path"].removeprefix("turns"): file for file in self.turns}
        for file in self.files:
            columns = ["id", "created_at", "conversation"]
            expected = turns_of(self._open(self.root / file["path"]).read(columns).to_pylist())
            turns = beside.pop(file["path"].removeprefix("conversations"), None)
            assert (turns is not None) == bool(expected), file["path"]
            if turns is not None:
                assert turns["window"] == file["window"]
                assert alike(read_turns(self.root / turns["path"], self._open)) == alike(
                    protected_turns(expected, self._policy)
                )
        assert not beside, "turns without conversations"

    def recording_rows(self) -> dict[str, dict[str, Any]]:
        """Returns the rows of recordings by the id of their conversation, which no other row may have."""
        found: dict[str, dict[str, Any]] = {}
        for file in self.recordings:
            for row in self._open(self.root / file["path"]).read().to_pylist():
                assert row["conversation_id"] not in found, f"{row['conversation_id']} is there twice"
                found[row["conversation_id"]] = row
        return found

    def _check_media(self) -> None:
        """Checks that each recording that is stored is there with its bytes, in the partition of its row."""
        rows = self.recording_rows().values()
        for row in rows:
            assert (row["path"] is not None) == (row["status"] == "stored")
            if row["path"] is not None:
                data = (self.root / row["path"]).read_bytes()
                assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
        if self.recordings:
            assert self.manifest["recordings"]["stored"] == sum(row["status"] == "stored" for row in rows)

    def _check_file(self, file: dict[str, Any], name: str, time_column: str) -> None:
        path = self.root / file["path"]
        data = path.read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
        assert path.parent.relative_to(self.root).parts == (
            name,
            *(f"{key}={value}" for key, value in file["partition"].items()),
        )
        parquet = self._open(path)
        table = parquet.read()
        assert table.num_rows == file["rows"] > 0
        assert [
            {"name": field.name, "type": str(field.type), "nullable": field.nullable} for field in table.schema
        ] == self.manifest["tables"][name]["schema"]
        times = table.column(time_column).to_pylist()
        assert all(newer >= older for newer, older in pairwise(times))
        newest, oldest = microseconds(times[0]), microseconds(times[-1])
        assert (_instant(file["created_at"]["max"]), _instant(file["created_at"]["min"])) == (newest, oldest)
        start, end = parse_interval(file["window"])
        assert start <= oldest <= newest < end
        for key, value in file["partition"].items():
            assert {time.strftime(_FORMATS[key]) for time in times} == {value}

    def _check_windows(self) -> None:
        windows = sorted(parse_interval(file["window"]) for file in self.files)
        assert all(left[1] <= right[0] for left, right in pairwise(windows)), "two files speak for one instant"
        coverage, range_ = self.coverage, parse_interval(self.manifest["range"])
        assert all(left[1] < right[0] for left, right in pairwise(coverage))
        assert all(range_[0] <= start < end <= range_[1] for start, end in coverage)
        for start, end in windows:
            assert any(from_ <= start and end <= to for from_, to in coverage)

    def _check_totals(self) -> None:
        totals = self.manifest["totals"]
        assert (totals["files"], totals["rows"], totals["bytes"]) == (
            len(self.parts),
            sum(file["rows"] for file in self.files),
            sum(file["bytes"] for file in self.parts),
        )
        assert (self.state == "incomplete") == (self.coverage != [parse_interval(self.manifest["range"])])

    def _check_tree(self, kept: Collection[str]) -> None:
        names = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}
        if format_ := self.manifest["table_format"]:
            delta = tuple(f"{table}/_delta_log/" for table in self.manifest["tables"])
            logs = {"delta": delta, "iceberg": ("_iceberg/",)}[format_["kind"]]
            names = {name for name in names if not name.startswith(logs)}
        # A repair keeps for a while what it removes, which is not part of the export.
        names = {name for name in names if not name.startswith("_exporter/dropped/")}
        quarantine = self.manifest["quarantine"]["files"]
        for file in quarantine:
            data = (self.root / file["path"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
            assert len(lines_of(self.root / file["path"])) == file["rows"]
        # Files of changes are for readers of the feed, which the log names to them.
        changes = {name for name in names if name.startswith("_exporter/changes/")}
        said = self.manifest["changes"]
        sizes = [(self.root / name).stat().st_size for name in changes]
        assert (len(sizes), sum(sizes)) == (said["files"], said["bytes"])
        names -= changes
        names -= self._check_checkpoints(names)
        commits = {f"_exporter/commits/{number:08d}.json" for number in range(1, self.manifest["generation"] + 1)}
        due = {
            "_manifest.json",
            *(["_SUCCESS"] if self.state == "complete" else []),
            *(file["path"] for file in self.parts),
            *(file["path"] for file in quarantine),
            *(row["path"] for row in self.recording_rows().values() if row["path"] is not None),
            *commits,
            "_exporter/lock",
            "_exporter/runs.jsonl",
            *kept,
        }
        assert names == due, f"surplus: {sorted(names - due)}, missing: {sorted(due - names)}"

    def _check_checkpoints(self, names: Collection[str]) -> set[str]:
        """Returns the checkpoints of the log, which must be what its commits fold to."""
        found = {name: number for name in names if (number := checkpoint_number(name)) is not None}
        commits = sorted(name for name in names if commit_number(name) is not None)
        texts = [(self.root / name).read_bytes() for name in commits]
        stored = [StoredCommit(msgspec.json.decode(text, type=Commit), text) for text in texts]
        assert not inspect_checkpoints(
            {number: (self.root / name).read_bytes() for name, number in found.items()}, stored
        )
        return set(found)


def check_left(root: Path, expected: Mapping[str, Record]) -> State:
    """Checks what holds wherever a run has ended, for readers of the log, of the manifest, or of the files alone.

    Returns the state that the log gives.
    """
    if not root.exists():
        return State()
    check_private(root)
    state = anyio.run(load_state, LocalStore(root))
    parts = {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}
    assert parts >= state.files.keys()
    for part in parts:
        pq.ParquetFile(root / part).read()
    complete = (root / "_SUCCESS").exists()
    if not (root / "_manifest.json").exists():
        assert not complete
        return state
    shown = ExportDirectory(root)
    shown.check_shown()
    assert shown.manifest["generation"] <= state.number
    assert shown.records().items() <= expected.items()
    if complete:
        assert shown.state == "complete"
        assert parts == {file["path"] for file in shown.parts}
        assert_same(shown.records(), expected)
    return state


def check_private(root: Path) -> None:
    """Checks that nobody else can read anything below `root`."""
    for path in [root, *root.rglob("*")]:
        mode = path.lstat().st_mode
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path


def assert_same(got: Mapping[str, Record], expected: Mapping[str, Record]) -> None:
    """Compares ids and fields. Names what differs in a few lines, whatever the number of rows."""
    missing, surplus = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    assert not missing, f"{len(missing)} of {len(expected)} rows are missing, such as {missing[:3]}"
    assert not surplus, f"{len(surplus)} rows are surplus, such as {surplus[:3]}"
    for identity, record in expected.items():
        assert got[identity].keys() == record.keys()
        for name, value in record.items():
            assert got[identity][name] == value, f"{name} of {identity}"


def snapshot(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Returns content, inode and time of change of every file except the journal. Equal ones mean that none changed."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), status.st_ino, status.st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if stat.S_ISREG((status := path.lstat()).st_mode) and path.name != "runs.jsonl"
    }


def without_lock(files: dict[str, tuple[bytes, int, int]]) -> dict[str, tuple[bytes, int, int]]:
    """Returns a snapshot without the lock, which a run writes before it knows whether it can do anything."""
    return {path: file for path, file in files.items() if path != "_exporter/lock"}


def texts(root: Path) -> Iterator[bytes]:
    """Yields the content of every file that is not Parquet."""
    yield from (path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".parquet")


def parse_interval(interval: dict[str, str | None]) -> tuple[Instant, Instant]:
    """Returns the half-open interval that a manifest names; an open start is `BEGINNING`."""
    start, end = interval["start"], interval["end"]
    assert end is not None
    return BEGINNING if start is None else _instant(start), _instant(end)


def _instant(text: str) -> Instant:
    assert text.endswith("Z")
    return parse_timestamp(text)
