"""Judges what is wrong with an export, from the facts that `facts` has read. Pure.

The fold of the log (`fold.apply`) has already checked that windows are disjoint and inside the coverage, and the
coverage inside the range; here, files, manifest and marks are compared with the log.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

import msgspec
import pyarrow as pa

from exporter.contract import format_instant
from exporter.layout import (
    ALL_TABLES,
    MANIFEST,
    RECORDINGS,
    SUCCESS,
    delta_log,
    is_clutter,
    is_export_file,
    is_of_run,
)
from exporter.log.manifest import generation_of, lost_commits
from exporter.log.state import State, state_name
from exporter.model import ChangesFile, DataFile, QuarantineFile
from exporter.parts.changes import ChangesCounts
from exporter.parts.columns import ID_COLUMNS, SORT_COLUMNS, is_of
from exporter.schedule.homes import Place
from exporter.verification.facts import Content
from exporter.verification.manifest import differing_keys
from exporter.version import __version__

What: TypeAlias = Literal[
    "log",
    "checkpoint",
    "manifest",
    "behind",
    "success",
    "table",
    "certificate",
    "missing",
    "size",
    "sha256",
    "unreadable",
    "schema",
    "rows",
    "values",
    "times",
    "order",
    "window",
    "partition",
    "duplicate",
    "turns",
    "changes",
    "orphan",
    "stranger",
]
#: Problems that a repair does nothing about: it cannot know better, or the file is not the exporter's.
LASTING: Final = frozenset[What]({"log", "checkpoint", "stranger", "table", "certificate", "unreadable"})
#: Problems that say nothing about the rows of the file that they name.
_ASIDE: Final = frozenset[What](
    {
        "log",
        "checkpoint",
        "manifest",
        "behind",
        "success",
        "table",
        "certificate",
        "changes",
        "orphan",
        "stranger",
        "unreadable",
    }
)
_NO_MANIFEST: Final = "the manifest is missing"
_NO_SUCCESS: Final = "is missing, though the export is complete"


class Problem(msgspec.Struct, frozen=True):
    """Names one thing that is wrong. `file` is relative to the destination; a repair has fixed it if it is `mended`."""

    file: str
    what: What
    detail: str
    mended: bool = False

    @property
    def is_damage(self) -> bool:
        """Returns whether something is wrong that the next run would not put in order by itself."""
        return self.what != "behind"

    @property
    def spoils_rows(self) -> bool:
        """Returns whether the rows of this file must be read from the API again."""
        return self.what not in _ASIDE


def check_lines(file: QuarantineFile, lines: int) -> Iterator[Problem]:
    """Judges a quarantine file whose SHA-256 is right; `lines` is the number of its lines."""
    if lines != file.rows:
        yield Problem(file.path, "rows", f"has {lines:,} rows; the log says {file.rows:,}")


def check_changes(file: ChangesFile, counts: ChangesCounts) -> Iterator[Problem]:
    """Judges a file of changes whose SHA-256 is right."""
    said = ChangesCounts(file.inserted, file.updated, file.deleted)
    if counts != said or sum(counts) != file.rows:
        yield Problem(file.path, "changes", f"has {counts}; the log says {said}")


def check_content(file: DataFile, content: Content, schema: pa.Schema | None, place: Place) -> Iterator[Problem]:
    """Judges the `content` of a part that has the bytes that were written; `schema` is None for an unknown table;
    `place` tells the partition of a row.
    """
    if schema is None or not is_of(content.schema, schema):
        yield Problem(file.path, "schema", _describe_difference(content.schema, schema))
        return
    identity, time = ID_COLUMNS[file.table], SORT_COLUMNS[file.table]
    if content.rows != file.rows:
        yield Problem(file.path, "rows", f"has {content.rows:,} rows; the log says {file.rows:,}")
    if content.incomplete:
        yield Problem(file.path, "values", f"{content.incomplete:,} rows have no `{identity}` or no `{time}`")
    if not content.descends:
        yield Problem(file.path, "order", f"`{time}` does not descend, though the footer says so")
    if content.oldest is None or content.newest is None:
        return
    if (content.oldest, content.newest) != (file.created_at_min, file.created_at_max):
        yield Problem(
            file.path,
            "times",
            f"`{time}` is from {format_instant(content.oldest)} to {format_instant(content.newest)}; the log says "
            f"from {format_instant(file.created_at_min)} to {format_instant(file.created_at_max)}",
        )
    if content.oldest not in file.window or content.newest not in file.window:
        yield Problem(file.path, "window", "has rows outside its window")
    ends = [place(instant)[0] for instant in (content.oldest, content.newest)]
    if ends != [file.partition, file.partition]:
        yield Problem(file.path, "partition", "has rows of another partition")


def check_beside(file: DataFile, conversations: DataFile | None) -> Iterator[Problem]:
    """Judges a part of turns; `conversations` is the part that it should lie beside, or None if there is none."""
    if conversations is None or conversations.window != file.window:
        yield Problem(file.path, "turns", "the part of conversations that it was made from is missing")


def check_turns(file: DataFile, misplaced: int) -> Iterator[Problem]:
    """Judges a part of turns; `misplaced` is the number of rows that are not where they belong."""
    if misplaced:
        yield Problem(
            file.path, "turns", f"{misplaced:,} rows are out of place, or belong to no conversation beside it"
        )


def check_places(state: State) -> Iterator[Problem]:
    """Names files that lie in another directory than their partition's."""
    for file in state.files.values():
        keys = [f"{key}={value}" for key, value in file.partition.items()]
        if file.path.rpartition("/")[0] != "/".join([file.table, *keys]):
            yield Problem(file.path, "partition", f"does not lie in the directory of {' '.join(keys) or 'its table'}")


def check_names(state: State, found: Collection[str]) -> Iterator[Problem]:
    """Judges the files that were `found` in the directories of files that commits name."""
    kept = state.kept
    dropped = frozenset[str]().union(*(one.files for one in state.dropped))
    is_delta = state.table_format is not None and state.table_format.kind == "delta"
    for path in found:
        if is_delta and path.startswith(tuple(f"{delta_log(table)}/" for table in ALL_TABLES)):
            continue
        if path in state.live or path in kept:
            continue
        if path in dropped:
            yield Problem(path, "behind", "a repair dropped it, but did not move it aside; the next run will")
            continue
        # DuckDB and Polars also take a hidden file for data, if it has the name of one.
        if is_clutter(path) and not path.endswith(".parquet"):
            continue
        if is_export_file(path):
            yield Problem(path, "orphan", "no commit names it: a run that was killed left it, or another export")
        else:
            yield Problem(path, "stranger", "no exporter wrote it, but readers may take it for data: move it away")


def check_manifest(state: State, manifest: bytes | None, expected: bytes) -> Iterator[Problem]:
    """Judges the stored `manifest`; by the log, it should be as `expected`."""
    if manifest is None:
        yield Problem(MANIFEST, "manifest", _NO_MANIFEST)
        return
    generation = generation_of(manifest)
    if generation is not None and generation > state.number:
        lost = lost_commits(generation, state)
        yield Problem(lost.path, "log", str(lost).removeprefix(f"{lost.path}: "))
        return
    if generation is not None and 0 < generation < state.number:
        yield Problem(
            MANIFEST,
            "behind",
            f"rests on {generation} of the {state.number} commits, as after a run that was killed; the next run brings "
            "it up to date",
        )
        return
    different = differing_keys(manifest, expected, is_ours=state.software.get("exporter") == __version__)
    if different is None:
        yield Problem(MANIFEST, "manifest", "is not JSON that an exporter wrote")
    elif different:
        yield Problem(MANIFEST, "manifest", f"differs from the log in {', '.join(different[:10])}")


def check_success(state: State, is_there: bool) -> Iterator[Problem]:
    """Judges whether `_SUCCESS`, the mark of a complete export, exists if and only if it should."""
    complete = state_name(state) == "complete"
    if is_there and not complete:
        yield Problem(SUCCESS, "success", f"exists, though the export is {state_name(state)}")
    elif complete and not is_there:
        yield Problem(SUCCESS, "success", _NO_SUCCESS)


def excuse_killed_run(problems: Iterable[Problem], run: str, *, has_success: bool) -> Iterator[Problem]:
    """Yields `problems` as they are to be judged if `run`, the last one in the log, was killed.

    What such a run leaves is no damage: no `_SUCCESS`, an older manifest or none, and files that it has not committed.
    Only beside `_SUCCESS`, which says that there are none, such files are.
    """
    for problem in problems:
        is_own = problem.what == "orphan" and is_of_run(problem.file, run) and not has_success
        # Whether there are recordings to come says nothing about `_SUCCESS`.
        is_own |= (
            problem.what == "orphan" and problem.file.startswith(f"{RECORDINGS}/") and is_of_run(problem.file, run)
        )
        if is_own:
            what, _, _ = problem.detail.partition(":")
            yield Problem(problem.file, "behind", f"{what}: a run that was killed left it")
        elif problem.detail in (_NO_MANIFEST, _NO_SUCCESS):
            yield Problem(problem.file, "behind", f"{problem.detail}, as after a run that was killed")
        else:
            yield problem


def describe_repeated(repeated: Mapping[str, Mapping[str, int]]) -> Iterator[Problem]:
    """Yields a problem for each part with `repeated` ids; for each id, they count how often each part has it."""
    shared: dict[str, list[str]] = {}
    for identity, places in repeated.items():
        for part in places:
            shared.setdefault(part, []).append(identity)
    for part, identities in sorted(shared.items()):
        elsewhere = sorted({place for identity in identities for place in repeated[identity]} - {part})
        where = f"also in {elsewhere[0]}" if elsewhere else "in this file"
        more = f" and {len(elsewhere) - 1:,} more" if len(elsewhere) > 1 else ""
        yield Problem(
            part,
            "duplicate",
            f"{len(identities):,} ids occur more than once, {where}{more}; one is {min(identities)[:80]!r}",
        )


def _describe_difference(found: pa.Schema, expected: pa.Schema | None) -> str:
    if expected is None:
        return "is of no table of this export"
    there = {field.name: str(field.type) for field in found}
    wanted = {field.name: str(field.type) for field in expected}
    different = [name for name in {**wanted, **there} if there.get(name) != wanted.get(name)]
    what = ", ".join(name[:80] for name in different[:10]) if different else "the order of columns, or nullability"
    return f"its columns are not those of the export: {what}"
