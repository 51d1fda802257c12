"""Checks what the exporter promises about a destination, at any instant and at the end."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio.to_thread

from exporter.contract import BEGINNING, END_OF_TIME, HIDDEN_STATUS, SECOND, Instant, format_instant
from exporter.coverage import Coverage
from exporter.encode.exact import NO_ID
from exporter.layout import TURNS, is_part
from exporter.log.commits import load_state
from exporter.log.state import State, state_name
from exporter.privacy import Policy
from exporter.store.local.store import LocalStore
from tests.simulation.disk import SimulatedDisk
from tests.simulation.loop import SimulatedLoop, run_sync
from tests.simulation.source import Source, Version
from tests.toolkit.encrypted import check_closed, data_key, lines_of, opened_with
from tests.toolkit.protected import protected
from tests.toolkit.turns_model import alike, read_turns, turns_of

#: A part is open for a minute at most; then it must be closed and committed, even on a slow disk.
MOST_SECONDS_AT_STAKE = 60.0 + 5.0

_HARDLY_ANY = 3
#: Opens a part with all the keys that a world may have.
_open = opened_with(*map(data_key, ("d1", "d2")))
_IDS_AND_TIMES = ("id", "created_at", "conversation_id", "conversation_created_at")


def check_order(disk: SimulatedDisk, destination: Path, file: Path, name: Path) -> None:
    """Checks that a commit gets its name only after everything that it names would survive a power cut."""
    if name.parent.name != "commits" or name.exists():
        return
    commit = json.loads(file.read_bytes())
    kinds = ("adds", "quarantines", "changed")
    for named in (named for kind in kinds for named in commit["change"].get(kind, ())):
        data = disk.durable_bytes(destination / named["path"])
        assert data is not None and len(data) == named["size_bytes"], f"{named['path']} is committed, not durable"
    if erasure := (commit.get("privacy") or {}).get("erasure"):
        certificate = disk.durable_bytes(destination / erasure["certificate"])
        assert certificate is not None, f"{name.name} names a certificate that is not durable"
    if commit["number"] > 1:
        before = name.with_name(f"{commit['number'] - 1:08d}.json")
        assert disk.durable_bytes(before) is not None, f"{before.name} is not durable, its successor is made"


def check_sound(destination: Path) -> State:
    """Checks what holds at any instant, even just after a process died."""
    state = _state(destination) if (destination / "_exporter").is_dir() else State()
    there = {path.relative_to(destination).as_posix() for path in destination.rglob("*") if path.is_file()}
    for file in state.files.values():
        if file.key:
            check_closed(destination / file.path)
            opened_with(data_key(file.key))(destination / file.path).close()
    hashes = {file.path: file.sha256 for file in state.files.values()}
    hashes |= {file.path: file.sha256 for file in (*state.quarantine.values(), *state.changes.values())}
    for path, sha256 in hashes.items():
        data = (destination / path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256, f"{path} is not what its commit says"
    for path in there - set(state.files):
        if path.endswith(".parquet"):
            _open(destination / path).close()
    check_turns(destination, state)
    if "_manifest.json" not in there:
        assert "_SUCCESS" not in there, "_SUCCESS without a manifest"
        return state
    manifest = json.loads((destination / "_manifest.json").read_bytes())
    named = {file["path"] for table in manifest["tables"].values() for file in table["files"]}
    # Files that a merge has replaced remain until the manifest no longer names them.
    assert named <= there, "the manifest names files that are gone"
    if "_SUCCESS" in there:
        assert manifest["state"] == state_name(state) == "complete", "_SUCCESS without a complete export"
        assert named == {path for path in there if is_part(path)} - state.kept, "_SUCCESS beside files of no commit"
    return state


def check_nobody_is_back(destination: Path, state: State, erased: Collection[str], *, is_at_rest: bool = False) -> None:
    """Checks that no file of the export has anything of who was erased, nor anything below the floor.

    `is_at_rest` says that a run has ended by itself: then no file at all has any of it, and none is plain beside others
    that are encrypted.
    """
    floor = state.privacy.floors.get("conversations", BEGINNING)
    if not destination.is_dir():
        return
    live = {destination / path for path in (*state.files, *state.quarantine)}
    for path in destination.rglob("*"):
        if not path.is_file() or not (is_at_rest or path in live):
            continue
        if path.suffix == ".parquet" and is_at_rest and state.privacy.key_name:
            check_closed(path)
        found: dict[str, Instant] = {}
        if path.suffix == ".parquet":
            with _open(path) as part:
                names = [name for name in part.schema_arrow.names if name in _IDS_AND_TIMES]
                table = part.read(names, use_threads=False)
            ids, times = table[0].to_pylist(), table[1].cast("int64").to_pylist()
            found = dict(zip(ids, times, strict=True))
        elif "quarantine" in path.parts:
            found = {line["id"]: END_OF_TIME for line in map(json.loads, lines_of(path))}
        assert not (back := found.keys() & set(erased)), f"{back} were erased, and are in {path}"
        assert not (old := [one for one, at in found.items() if at < floor]), f"{old} expired, and are in {path}"


def check_turns(destination: Path, state: State) -> None:
    """Checks that the committed turns are those of the transcripts beside them."""
    beside = {file.path for file in state.files.values()} - {file.path for file in state.conversations}
    for file in state.conversations if state.request and TURNS in state.request.tables else ():
        with _open(destination / file.path) as part:
            rows = part.read(["id", "created_at", "conversation"], use_threads=False).to_pylist()
        found = []
        for turns in state.turns_beside(file):
            assert turns.window == file.window, f"{turns.path} is not of the time of {file.path}"
            found = read_turns(destination / turns.path, _open)
            beside.discard(turns.path)
        assert alike(found) == alike(turns_of(rows)), f"the turns of {file.path} are not those of its transcripts"
    assert not beside, f"{beside} are turns of no conversations"


def check_journal(destination: Path, state: State, exit_status: int) -> None:
    """Checks that the last line is that of the run that has just ended, whatever earlier runs have left."""
    last = json.loads((destination / "_exporter/runs.jsonl").read_bytes().splitlines()[-1])
    assert (last["exit_status"], last["generation"]) == (exit_status, state.number), last


def check_little_is_lost(destination: Path, state: State, settled: Mapping[str, float], ended_at: float) -> None:
    """Checks that rows that were settled more than a minute before the end are committed.

    `settled` holds the seconds at which each was settled, by id.
    """
    kept = {str(record["id"]) for record in _exported(destination, state)} | set(_quarantined(destination, state))
    lost = [row for row, at in settled.items() if row not in kept and at < ended_at - MOST_SECONDS_AT_STAKE]
    assert not lost, f"{lost} were settled long before the end at {ended_at}, and are not committed"


def check_exact(destination: Path, state: State, source: Source) -> None:
    """Checks that a finished export has each conversation that was never deleted once, as it was at some instant.

    Conversations that have appeared since `updates_since`, or whose time is named as unproven, may be missing.
    """
    assert state.range is not None
    assert not state.left
    exported = _exported(destination, state)
    counts = Counter(str(record["id"]) for record in exported) + Counter(_quarantined(destination, state))
    assert not (doubled := [row for row, count in counts.items() if count > 1]), f"{doubled} are there twice"
    for row, known in source.versions.items():
        served = set().union(*(source.served(version.row) for version in known))
        latest = source.served(known[-1].row)
        if row in counts:
            assert any(created_at in state.range for created_at in served), f"{row} is outside of the range"
        elif row in source.stable and all(time in state.range for time in latest) and not _is_doubted(state, served):
            assert state.read_since is not None
            # Hidden ones are looked for where the first question has found others of their status.
            unseen = source.behaviour.hides_token_created and known[0].row.fields["status"] == HIDDEN_STATUS
            last = max(number for number, version in enumerate(known) if version.placed)
            is_new = known[last].since > (0 if unseen else state.read_since)
            # Only an audit finds a row that came unseen and has changed since with its `updated_at` unchanged.
            is_told = all(version.told for version in known[last:])
            assert is_new or not is_told, f"{row} of {' or '.join(map(format_instant, sorted(served)))} is missing"
    for record in exported:
        identity = str(record["id"])
        known = source.versions[identity]
        latest = source.served(known[-1].row)
        # A row that was deleted, or has left the range, stays as it was.
        is_there = (
            identity in source.stable and all(time in state.range for time in latest) and not _is_doubted(state, latest)
        )
        _check_version(record, source, known, state.read_since if is_there else None, state.privacy.policy)


def _is_doubted(state: State, served: Iterable[Instant]) -> bool:
    return any(time in doubt.interval for doubt in state.unproven for time in served)


def check_doubts(state: State, source: Source, span: Instant) -> None:
    """Checks that, if a server can be read, a time is named only if more rows are near it than are shown at once.

    It may also be named if hardly any other rows exist, because then no longer page can prove that theirs was not cut.
    Doubts that touch count as one: how many windows a stretch was read in makes no difference.
    """
    reasons = {doubt.created_at: doubt.reason for doubt in state.unproven}
    for stretch in Coverage(doubt.interval for doubt in state.unproven).intervals:
        newest = stretch.end - 1
        near = source.rows_near(newest, span + 2 * SECOND + newest - stretch.start)
        is_excused = near >= source.most_rows() or len(source.versions) - near <= _HARDLY_ANY
        assert is_excused, f"{format_instant(newest)} is in doubt: {reasons[newest]}"


def _check_version(
    record: dict[str, Any],
    source: Source,
    versions: Sequence[Version],
    updates_since: Instant | None,
    policy: Policy | None,
) -> None:
    def is_alike(version: Version) -> bool:
        fields = protected(dict(version.row.fields), policy)
        alike = fields["summary"] == record["summary"] and fields["status"] == record["status"]
        return alike and record["created_at"] in source.served(version.row)

    alike = [number for number, version in enumerate(versions) if is_alike(version)]
    assert alike, f"{record['id']} is none of its versions"
    newer = versions[max(alike) + 1 :]
    if updates_since is not None and all(version.told for version in newer):
        changed = [version for version in newer if version.since < updates_since]
        assert not changed, f"{record['id']} changed before updates_since"


def _state(destination: Path) -> State:
    with (
        closing(SimulatedLoop(lambda: 0.0, lambda _: None)) as loop,
        patch.object(anyio.to_thread, "run_sync", run_sync),
    ):
        state: State = loop.run_until_complete(load_state(LocalStore(destination)))
        return state


def _exported(destination: Path, state: State) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for file in state.conversations:
        with _open(destination / file.path) as part:
            table = part.read(["id", "summary", "status", "created_at"], use_threads=False)
        position = table.schema.get_field_index("created_at")
        records += table.set_column(position, "created_at", table["created_at"].cast("int64")).to_pylist()
    return records


def stored_ids(destination: Path) -> set[str]:
    """Returns the ids of all conversations of an export; none if there is no export yet."""
    state = _state(destination) if (destination / "_exporter").is_dir() else State()
    if state.range is None:
        return set()
    return {str(record["id"]) for record in _exported(destination, state)} | set(_quarantined(destination, state))


def _quarantined(destination: Path, state: State) -> list[str]:
    lines = [json.loads(line) for file in state.quarantine.values() for line in lines_of(destination / file.path)]
    # An element that is no conversation has no id.
    return [line["id"] for line in lines if not line["id"].startswith(NO_ID)]
