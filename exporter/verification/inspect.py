"""Looks at everything at a destination, and says what is wrong. Changes nothing.

Another run may be writing meanwhile. Then the manifest is behind the log for a moment, a file exists before its commit,
and `_SUCCESS` is gone or does not exist yet. So these are judged only if no run was at work while they were read: the
log has as many commits after as before, and nobody held the lock. What a commit names does not change, and is always
judged; what a later commit has removed is forgotten.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
from anyio import to_thread

from exporter.encode.tables import Tables
from exporter.errors import DamagedLogError, DestinationError
from exporter.layout import COMMITS, CONVERSATIONS, MANIFEST, RECORDINGS, SUCCESS, TURNS, conversations_path
from exporter.log.commits import list_commits, load_commits, read_commits
from exporter.log.fold import fold
from exporter.log.journal import has_ended
from exporter.log.manifest import render_manifest
from exporter.log.publish import list_files
from exporter.model import DataFile, QuarantineFile
from exporter.parts.changes import ChangesCounts, count_changes
from exporter.parts.ids import Hashes, Suspects, hash_ids, read_ids
from exporter.parts.integrity import as_written, missized, opened
from exporter.pipeline.quarantine_files import lines_in
from exporter.store.base import Store
from exporter.tasks import for_each
from exporter.verification import facts
from exporter.verification.checkpoints import inspect_checkpoints, read_checkpoints
from exporter.verification.erasures import excuse_unfinished, inspect_erasures
from exporter.verification.facts import Content
from exporter.verification.inspection import Inspection, look
from exporter.verification.media import find_orphans, inspect_media
from exporter.verification.problems import (
    Problem,
    check_beside,
    check_changes,
    check_content,
    check_lines,
    check_manifest,
    check_names,
    check_places,
    check_success,
    check_turns,
    describe_repeated,
    excuse_killed_run,
)
from exporter.verification.sample import Sample
from exporter.verification.tables import inspect_tables
from exporter.verification.unfinished import excuse_rewriting, unfinished_command

#: This many suspicious hashes fit into memory. A repair leaves the others to the next one.
_MOST_REPEATED: Final = 100_000
#: If this many files cannot be read, the others are not tried, because each may take a while to fail.
_MOST_UNREADABLE: Final = 20


async def load_findings(store: Store) -> Inspection:
    """Reads the log alone. Raises `DamagedLogError`, and `DestinationError` if there is no export."""
    # A checkpoint comes after its commit: the commits of those that are there now will be found.
    checkpoints = await read_checkpoints(store)
    stored = await read_commits(store)
    commits = [one.commit for one in stored]
    state = fold(commits)
    if state.request is None:
        if await store.read(MANIFEST) is not None:
            raise DamagedLogError(COMMITS, "missing, although its manifest exists. Restore it, or start a new export")
        raise DestinationError(f"{store.location}: no export here; check the path, or run exporter export first")
    tables = Tables.of(state.request)
    problems = inspect_checkpoints(checkpoints, stored)
    return Inspection(commits, state, tables.place, tables.schemas, problems)


async def inspect(
    store: Store, sample: Sample, *, alone: bool, reads_media: bool = False, decodes: bool = True
) -> Inspection:
    """Looks at names and sizes of all files, and into those parts that are in `sample`; `reads_media` also reads what
    recordings among them name. Unless it `decodes`, files are only compared with their sums, and media is left out.

    `alone` says that this process holds the lock. Raises the errors of `load_findings`, and `StoreError` if the store
    cannot be read.
    """
    findings = await load_findings(store)
    before = None if alone else await store.lock_holder()
    passing = await _inspect_what_runs_touch(store, findings, decodes)
    after = None if alone else await store.lock_holder()
    if holder := before or after:
        findings.writer = str(holder)
    elif len(await list_commits(store)) != findings.state.number:
        findings.writer = "a run that has ended meanwhile"
    else:
        ended = await has_ended(store, findings.state.runs[-1])
        findings.unfinished = unfinished_command(findings.state, findings.commits[-1], passing, has_ended=ended)
        findings.problems += excuse_unfinished(
            findings.state, excuse_rewriting(findings.state, passing, findings.unfinished)
        )
    await _inspect_files(store, findings, sample, decodes)
    if decodes:
        await inspect_media(store, findings, sample, reads_media=reads_media)
    if findings.problems and not alone:
        await _forget_removed(store, findings)
    return findings


async def _inspect_what_runs_touch(store: Store, findings: Inspection, decodes: bool) -> list[Problem]:
    state, has_success = findings.state, await store.read(SUCCESS) is not None
    problems = [
        *check_manifest(state, await store.read(MANIFEST), render_manifest(state, schemas=findings.schemas)),
        *check_success(state, has_success),
        *check_names(state, await list_files(store)),
        *(await find_orphans(store, findings) if decodes else ()),
        *await inspect_tables(store, findings),
        *await inspect_erasures(store, state, findings.commits),
    ]
    run = state.runs[-1]
    is_behind = any(problem.file == MANIFEST and problem.what == "behind" for problem in problems)
    if not is_behind and await has_ended(store, run):
        return problems
    return list(excuse_killed_run(problems, run, has_success=has_success))


async def _inspect_files(store: Store, findings: Inspection, sample: Sample, decodes: bool) -> None:
    state = findings.state
    findings.problems += check_places(state)
    suspicious = await missized(store, dict(state.by_path.sizes()))
    for quarantined in state.quarantine.values():
        count = partial(_count_lines, store, quarantined) if decodes else _read_nothing
        lines = await look(store, findings, quarantined, count)
        findings.problems += () if lines is None else check_lines(quarantined, lines)
    for changes in state.changes.values():
        if changes.path in suspicious or changes.path in sample:
            tally: Callable[[Path], ChangesCounts | None] = count_changes if decodes else _read_nothing
            counts = await look(store, findings, changes, tally)
            findings.problems += () if counts is None else check_changes(changes, counts)
    parts = [file for path, file in state.files.items() if path in suspicious or path in sample]
    decoded: list[DataFile] = []
    sound: set[str] = set()
    with _hashes(store) as hashes, _hashes(store) as recorded:
        by_table = {CONVERSATIONS: hashes, RECORDINGS: recorded}

        async def look_into(file: DataFile) -> None:
            if len(findings.unreadable) >= _MOST_UNREADABLE:
                return
            read = partial(_read_part, findings, file, by_table) if decodes else _read_nothing
            content = await look(store, findings, file, read)
            if content is not None:
                schema = findings.schemas.get(file.table)
                problems = list(check_content(file, content, schema, findings.place))
                findings.problems += problems
                if not problems:
                    sound.add(file.path)
                if content.rows and file.table in by_table:
                    decoded.append(file)
            if file.path not in suspicious:
                findings.parts_read += 1
                findings.bytes_read += file.size_bytes

        await for_each(parts, look_into, at_once=os.cpu_count() or 1)
        findings.ids_compared = len(hashes)
        repeated = {table: await to_thread.run_sync(ids.repeated, _MOST_REPEATED) for table, ids in by_table.items()}
    for table, hashes_again in repeated.items():
        suspects = Suspects(hashes_again)
        for file in sorted(decoded, key=lambda file: file.path) if hashes_again else ():
            if file.table == table:
                await look(store, findings, file, partial(_look_for_ids, suspects, file), opened)
        findings.problems += describe_repeated(suspects.repeated())
    turns = [file for file in parts if file.table == TURNS and file.path in sound]
    await _check_turns(store, findings, turns, sound, sample)


async def _forget_removed(store: Store, findings: Inspection) -> None:
    """Drops the problems of files that a run has removed since."""
    now = fold(await load_commits(store))
    removed = findings.state.live.keys() - now.live.keys()
    findings.problems = [problem for problem in findings.problems if problem.file not in removed]


def _hashes(store: Store) -> Hashes:
    return Hashes(destination=store.location if isinstance(store.location, Path) else None)


def _read_part(findings: Inspection, file: DataFile, by_table: Mapping[str, Hashes], path: Path) -> Content:
    def take_ids(ids: pa.Array) -> None:
        if file.table in by_table:
            by_table[file.table].add(hash_ids(ids))

    return facts.read_content(path, findings.schemas.get(file.table), take_ids, file.table)


def _count_lines(store: Store, file: QuarantineFile, path: Path) -> int:
    return len(lines_in(path, file.path, store.location))


def _read_nothing(_: Path) -> None:
    """Stands for a reader where it is enough that a file has the bytes that were written."""


def _look_for_ids(suspects: Suspects, file: DataFile, path: Path) -> None:
    suspects.look_into(file.path, read_ids(path, table=file.table))


async def _check_turns(
    store: Store, findings: Inspection, files: Iterable[DataFile], sound: Collection[str], sample: Sample
) -> None:
    """Compares turns with the parts of conversations beside them that are as they were written."""
    for file in files:
        beside = findings.state.files.get(conversations_path(file.path))
        wrong = list(check_beside(file, beside))
        findings.problems += wrong
        if wrong or beside is None or (beside.path in sample and beside.path not in sound):
            continue
        async with opened(store, file) as turns:
            count = partial(facts.count_misplaced, turns)
            misplaced = await look(store, findings, beside, count, opened if beside.path in sound else as_written)
        findings.problems += () if misplaced is None else check_turns(file, misplaced)
