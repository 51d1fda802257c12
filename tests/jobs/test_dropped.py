"""Files that a repair takes out of an export are kept until nothing needs them, whatever happens in between."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from exporter.cli.upkeep_report import describe_vacuumed, describe_verified
from exporter.contract import END_OF_TIME
from exporter.jobs.export import export
from exporter.jobs.vacuum import VacuumResult, vacuum
from exporter.jobs.verify import VerifyResult, verify
from exporter.log.commits import load_state
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.jobs.damage import flip, parts, quarantine, share_an_id, truncate
from tests.jobs.made import NOW, SINCE, UNTIL, misfit

ROWS = make_conversations(300, SINCE, UNTIL, transcripts=False)


@pytest.fixture
def root(complete: Path) -> Path:
    return complete


def check(root: Path, **options: Any) -> VerifyResult:
    return anyio.run(partial(verify, root, now=NOW, **options))


def clean(root: Path, *, dry_run: bool = False) -> VacuumResult:
    return anyio.run(partial(vacuum, root, before=END_OF_TIME, now=NOW, dry_run=dry_run))


def read_again(root: Path, rows: list[Row] = ROWS) -> None:
    async def run() -> None:
        async with serve(rows) as server:
            await export(root, Selection(), RunContext(RunSettings(base_url=server.url), Credentials(TOKEN), Quiet()))

    anyio.run(run)


def sums(root: Path) -> dict[str, str]:
    """Returns the checksums of all data files, dropped or not, by path."""
    found = [path for path in root.rglob("*") if path.is_file() and path.suffix in (".parquet", ".jsonl", ".dropped")]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.name != "runs.jsonl"
    }


def dropped(root: Path) -> list[str]:
    return sorted(path for path in sums(root) if path.startswith("_exporter/dropped/"))


@pytest.mark.parametrize("damage", [flip, truncate])
def test_it_is_named_moved_and_kept_until_all_is_there_again(damage: Callable[[Path, str], None], root: Path) -> None:
    path = parts(root)[0]
    damage(root, path)
    before = sums(root)
    found = check(root)
    assert (found.drops, found.dropped_to, found.uncovered) == ((path,), None, ())
    assert f"    {path}" in list(describe_verified(found, root))

    told: list[tuple[tuple[str, ...], str]] = []

    def announce(drops: Any, directory: str) -> None:
        assert sums(root) == before
        told.append((tuple(drops), directory))

    mended = check(root, repair=True, announce=announce)
    assert told == [((path,), mended.dropped_to)]
    kept = f"{mended.dropped_to}/{path}.dropped"
    assert dropped(root) == [kept]
    assert sorted(sums(root).values()) == sorted(before.values())

    # Nothing takes it for a problem, and nothing deletes it.
    assert check(root).problems == ()
    assert check(root, repair=True).problems == ()
    waiting = clean(root)
    assert (waiting.dropped_files, waiting.dropped_waiting) == (0, 1)
    assert f"    exporter export {root}" in list(describe_vacuumed(waiting, root, False))
    assert dropped(root) == [kept]

    read_again(root)
    assert dropped(root) == [kept]
    assert (clean(root, dry_run=True).dropped_files, dropped(root)) == (1, [kept])
    size = (root / kept).stat().st_size
    gone = clean(root)
    assert (gone.dropped_files, gone.dropped_bytes, gone.dropped_waiting) == (1, size, 0)
    assert any(line.startswith("  deleted 1 file of ") for line in describe_vacuumed(gone, root, False))
    assert dropped(root) == []
    assert (check(root).problems, check(root).state) == ((), "complete")
    assert clean(root).dropped_files == 0


def test_what_the_source_has_no_more_is_not_deleted_where_its_bytes_are_right(root: Path) -> None:
    """An id is in two parts; both are sound, and a conversation in one of them was since deleted at the source."""
    one, other = parts(root)[:2]
    share_an_id(root, one, other)
    mended = check(root, repair=True)
    assert set(mended.drops) == {one, other}
    state = anyio.run(load_state, LocalStore(root))
    window = next(file for dropped in state.dropped for path, file in dropped.files.items() if path == one).window
    assert window is not None
    deleted = next(row for row in ROWS if row.created_at in window)
    read_again(root, [row for row in ROWS if row is not deleted])

    cleaned = clean(root)
    kept = f"{mended.dropped_to}/{one}.dropped"
    assert (cleaned.dropped_files, cleaned.dropped_needed) == (1, (kept,))
    assert any("for conversations that are nowhere else" in line for line in describe_vacuumed(cleaned, root, False))
    assert dropped(root) == [kept]
    # Whatever it holds, it is not part of the export.
    assert (check(root).problems, check(root).state, check(root).rows) == ((), "complete", 299)


def test_rows_in_two_parts_that_are_all_there_again_are_deleted(root: Path) -> None:
    one, other = parts(root)[:2]
    share_an_id(root, one, other)
    assert check(root, repair=True).dropped == 2
    read_again(root)
    assert (clean(root).dropped_files, dropped(root)) == (2, [])


def test_quarantine_is_moved_as_well(odd: Path) -> None:
    rows = [*ROWS, *map(misfit, range(8))]
    path = quarantine(odd)[0]
    flip(odd, path)
    before = set(sums(odd).values())
    mended = check(odd, repair=True)
    assert path in mended.drops
    assert before <= set(sums(odd).values())
    assert f"{mended.dropped_to}/{path}.dropped" in dropped(odd)
    read_again(odd, rows)
    assert clean(odd).dropped_files == len(mended.drops)
    assert dropped(odd) == []


def test_sound_quarantine_that_loses_rows_is_moved_as_well(odd: Path) -> None:
    """A repair rewrites the lines that stay; those that go are of a time that is read again."""
    flip(odd, parts(odd)[1])
    before = set(sums(odd).values())
    mended = check(odd, repair=True)
    assert before <= set(sums(odd).values())
    read_again(odd, [*ROWS, *map(misfit, range(8))])
    assert clean(odd).dropped_files == len(mended.drops)


def test_what_was_away_for_a_while_and_is_back_is_moved_not_swept(root: Path, tmp_path: Path) -> None:
    """A disk may not have been mounted: all of its files are missing, and a repair takes them out."""
    before = sums(root)
    (root / "conversations").rename(away := tmp_path / "away")
    mended = check(root, repair=True)
    assert (mended.dropped, mended.state) == (len(before), "incomplete")
    assert dropped(root) == []
    away.rename(root / "conversations")
    found = check(root)
    assert {problem.what for problem in found.problems} == {"behind"}
    read_again(root)
    assert len(dropped(root)) == len(before)
    assert set(before.values()) <= set(sums(root).values())
    assert check(root).problems == ()
    assert clean(root).dropped_files == len(before)


def test_other_garbage_is_swept_as_ever(root: Path) -> None:
    flip(root, parts(root)[0])
    (left := root / "conversations/created_date=2026-01-01/part-left-000001.parquet").parent.mkdir()
    left.write_bytes(b"PAR1")
    check(root, repair=True)
    assert not left.exists()
    assert len(dropped(root)) == 1


def test_a_repair_that_is_killed_at_any_step_loses_nothing(odd: Path, tmp_path: Path) -> None:
    """The next run, be it a repair or an export, loses nothing either."""
    flip(odd, parts(odd)[1])
    before = set(sums(odd).values())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
    command = [sys.executable, str(Path(__file__).with_name("killed_repair.py")), str(odd), str(tmp_path / "killed")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    roots = [Path(line) for line in done.stdout.splitlines()]
    seen = set[tuple[bool, bool, bool]]()
    for number, root in enumerate(roots):
        assert before <= set(sums(root).values()), root
        found = check(root)
        has_dropped = bool(anyio.run(load_state, LocalStore(root)).dropped)
        is_left = any("did not move it aside" in problem.detail for problem in found.problems)
        moment = (has_dropped, is_left, bool(dropped(root)))
        if moment in seen and root != roots[-1]:
            continue
        seen.add(moment)
        if not has_dropped or number % 2:
            check(root, repair=True)
        read_again(root, [*ROWS, *map(misfit, range(8))])
        assert before <= set(sums(root).values()), root
        assert check(root).problems == ()
        clean(root)
        assert dropped(root) == []
        assert check(root).problems == ()
    assert len(roots) > 20
    # These are the moments before the commit, after it, while files are moved, and in the end.
    assert seen == {(False, False, False), (True, True, False), (True, True, True), (True, False, True)}
