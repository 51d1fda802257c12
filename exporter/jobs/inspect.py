"""Looks at everything at a destination, and says what is wrong; changes nothing.

Another run may be writing meanwhile. Then the manifest is behind the log for a moment, a file is there before its
commit, `_SUCCESS` is gone or not yet there. So these are judged only when no run was there while they were read: the
log has as many commits after as before, and nobody held the lock. What a commit names does not change, and is judged
in any case; what a later commit has removed is forgotten.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
from anyio import to_thread

from exporter.encode.schema import table_schemas
from exporter.errors import DamagedLogError, DestinationError
from exporter.jobs.sample import Sample
from exporter.jobs.tables import inspect_tables
from exporter.model import DataFile, QuarantineFile
from exporter.pipeline.tasks import for_each
from exporter.spec import PartitionBy
from exporter.store import check, facts
from exporter.store.base import Store
from exporter.store.check import Problem
from exporter.store.commits import list_commits, load_commits, load_state
from exporter.store.ids import Hashes, Suspects, hash_ids
from exporter.store.layout import (
    COMMITS,
    CONVERSATIONS,
    MANIFEST,
    QUARANTINE,
    SUCCESS,
    TABLES,
    TURNS,
    conversations_path,
)
from exporter.store.manifest import render_manifest
from exporter.store.state import Commit, State, fold

#: Of suspicious hashes, so that they fit into memory. A repair leaves what is beyond to the next one.
_MOST_REPEATED: Final = 100_000


@dataclass(slots=True)
class Findings:
    """What the log says, and how what lies there differs. `writer`: the run that was at work, if one was.

    `schemas`: by table. `parts_read`, `bytes_read` and `ids_compared` count what was looked into.
    """

    commits: Sequence[Commit]
    state: State
    partition_by: PartitionBy
    schemas: dict[str, pa.Schema]
    problems: list[Problem] = field(default_factory=list)
    writer: str | None = None
    parts_read: int = 0
    bytes_read: int = 0
    ids_compared: int = 0


async def load_findings(store: Store) -> Findings:
    """The log alone. Raises `DamagedLogError`, and `DestinationError` when there is no export."""
    commits = await load_commits(store)
    state = fold(commits)
    if state.request is None:
        if await store.read(MANIFEST) is not None:
            raise DamagedLogError(COMMITS, "the log is gone, and its manifest is there. Restore it, or export anew")
        raise DestinationError(f"{store.location}: no export here")
    return Findings(commits, state, state.request.partition_by, table_schemas(state.request))


async def inspect(store: Store, sample: Sample, *, alone: bool) -> Findings:
    """Looks at names and sizes of all files, and into those parts that are in `sample`.

    `alone`: this process holds the lock. Raises as `load_findings`, and `StoreError` when the store cannot be read.
    """
    findings = await load_findings(store)
    before = None if alone else await store.lock_holder()
    passing = await _inspect_what_runs_touch(store, findings)
    after = None if alone else await store.lock_holder()
    if holder := before or after:
        findings.writer = str(holder)
    elif len(await list_commits(store)) != findings.state.number:
        findings.writer = "a run that has ended meanwhile"
    else:
        findings.problems += passing
    await _inspect_files(store, findings, sample)
    if findings.problems and not alone:
        await _forget_removed(store, findings)
    return findings


async def _inspect_what_runs_touch(store: Store, findings: Findings) -> list[Problem]:
    state = findings.state
    found = [path for directory in (*TABLES, QUARANTINE) for path in await store.list(directory)]
    return [
        *check.check_manifest(state, await store.read(MANIFEST), render_manifest(state, schemas=findings.schemas)),
        *check.check_success(state, await store.read(SUCCESS) is not None),
        *check.check_names(state, found),
        *await inspect_tables(store, state),
    ]


async def _inspect_files(store: Store, findings: Findings, sample: Sample) -> None:
    state = findings.state
    findings.problems += check.check_places(state)
    named: list[DataFile | QuarantineFile] = [*state.files.values(), *state.quarantine.values()]
    problems, whole = _check_sizes(await store.sizes([file.path for file in named]), named)
    findings.problems += problems
    for file in whole:
        if isinstance(file, QuarantineFile):
            async with store.fetched(file.path) as path:
                findings.problems += await to_thread.run_sync(_check_quarantine, path, file)
    parts = [file for file in whole if isinstance(file, DataFile) and file.path in sample]
    decoded: list[str] = []
    sound: set[str] = set()
    with Hashes() as hashes:

        async def look_into(file: DataFile) -> None:
            async with store.fetched(file.path) as path:
                could_decode, problems = await to_thread.run_sync(_check_part, path, findings, file, hashes)
            findings.problems += problems
            findings.parts_read += 1
            findings.bytes_read += file.size_bytes
            if not problems:
                sound.add(file.path)
            if could_decode and file.table == CONVERSATIONS:
                decoded.append(file.path)

        await for_each(parts, look_into, at_once=os.cpu_count() or 1)
        findings.ids_compared = len(hashes)
        suspicious = await to_thread.run_sync(hashes.repeated, _MOST_REPEATED)
    suspects = Suspects(suspicious)
    for part in sorted(decoded) if suspicious else ():
        async with store.fetched(part) as path:
            await to_thread.run_sync(suspects.look_into, part, facts.read_ids(path))
    findings.problems += check.describe_repeated(suspects.repeated())
    turns = [file for file in parts if file.table == TURNS and file.path in sound]
    await _check_turns(store, findings, turns, sound, sample)


async def _forget_removed(store: Store, findings: Findings) -> None:
    """Drops what is said of files that a run has removed since."""
    now = await load_state(store)
    removed = {*findings.state.files, *findings.state.quarantine} - {*now.files, *now.quarantine}
    findings.problems = [problem for problem in findings.problems if problem.file not in removed]


def _check_sizes(
    sizes: Mapping[str, int], files: Iterable[DataFile | QuarantineFile]
) -> tuple[list[Problem], list[DataFile | QuarantineFile]]:
    """What is wrong, and the files that are not."""
    problems, whole = list[Problem](), list[DataFile | QuarantineFile]()
    for file in files:
        found = list(check.check_size(file, sizes.get(file.path)))
        problems += found
        if not found:
            whole.append(file)
    return problems, whole


def _check_quarantine(path: Path, file: QuarantineFile) -> list[Problem]:
    wrong = list(check.check_sha256(file, facts.hash_file(path)))
    return wrong or list(check.check_lines(file, facts.count_lines(path)))


def _check_part(path: Path, findings: Findings, file: DataFile, hashes: Hashes) -> tuple[bool, list[Problem]]:
    """Whether its ids could be decoded, and what is wrong. Bytes that are not those written are not looked into."""
    if wrong := list(check.check_sha256(file, facts.hash_file(path))):
        return False, wrong
    schema = findings.schemas.get(file.table)

    def take_ids(ids: pa.Array) -> None:
        if file.table == CONVERSATIONS:
            hashes.add(hash_ids(ids))

    content = facts.read_content(path, schema, take_ids, file.table)
    wrong = list(check.check_content(file, content, schema, findings.partition_by))
    return content is not None and content.rows > 0, wrong


async def _check_turns(
    store: Store, findings: Findings, files: Iterable[DataFile], sound: Collection[str], sample: Sample
) -> None:
    """Holds turns against those parts of conversations beside them that are as they were written."""
    for file in files:
        beside = findings.state.files.get(conversations_path(file.path))
        wrong = list(check.check_beside(file, beside))
        findings.problems += wrong
        if wrong or beside is None or (beside.path in sample and beside.path not in sound):
            continue
        async with store.fetched(file.path) as turns, store.fetched(beside.path) as conversations:
            if beside.path in sound or await to_thread.run_sync(facts.hash_file, conversations) == beside.sha256:
                misplaced = await to_thread.run_sync(facts.count_misplaced, turns, conversations)
                findings.problems += check.check_turns(file, misplaced)
