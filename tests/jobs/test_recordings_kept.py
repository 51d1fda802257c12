"""Verification, repair, vacuum and compaction meet recordings: each row has its media, and what is left is said."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pyarrow.parquet as pq
import pytest

from exporter.cli.upkeep_report import describe_vacuumed, describe_verified
from exporter.contract import DAY, END_OF_TIME
from exporter.jobs.compact import CompactResult, compact
from exporter.jobs.vacuum import VacuumResult, vacuum
from exporter.jobs.verify import VerifyResult, verify
from exporter.progress import Quiet
from exporter.sandbox import make_conversations
from exporter.verification import media as check_of_media
from tests.jobs.damage import flip, rewrite, truncate, with_column
from tests.jobs.made import NOW, UNTIL, make_export, make_exports
from tests.toolkit.recorded import audio, check_media, conversations, media, record, recordings, state_of
from tests.toolkit.sizes import size_of


def check(root: Path, **options: Any) -> VerifyResult:
    return anyio.run(partial(verify, root, now=NOW, **options))


def sweep(root: Path, **options: Any) -> VacuumResult:
    return anyio.run(partial(vacuum, root, before=END_OF_TIME, now=NOW, **options))


def join(root: Path) -> CompactResult:
    return anyio.run(partial(compact, root, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes an export of six days with forty recordings, of which five are the same as another's, and some failures."""
    root = make_exports(tmp_path_factory.mktemp("recorded"))["complete"]
    names = [*conversations(root)]
    record(root, {name: f"shared-{number % 2}" if number % 8 == 0 else "" for number, name in enumerate(names[::7])})
    record(root, dict.fromkeys(names[1:8:2]), reason="short")
    return root


@pytest.fixture
def kept(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "kept"))


def named(root: Path) -> list[str]:
    """Returns the paths of media that one row names, from old to new."""
    rows = [row for row in recordings(root).values() if row["path"]]
    paths = [row["path"] for row in sorted(rows, key=lambda row: row["conversation_created_at"])]
    return [path for path in paths if paths.count(path) == 1]


def test_sound_recordings(kept: Path) -> None:
    check_media(kept)
    found = check(kept)
    assert (found.problems, found.exit_status, found.strays) == ((), 0, 0)
    assert (found.recordings, found.media_files, found.media_read) == (46, len(media(kept)), 0)
    found = check(kept, media=True)
    assert found.sound
    assert (found.media_read, found.media_bytes_read) == (found.media_files, found.media_bytes)
    assert any("recordings, with media in" in line for line in describe_verified(found, kept))


def test_a_sample_reads_the_media_of_its_parts(kept: Path) -> None:
    found = check(kept, share=0.1, media=True)
    assert 0 <= found.media_read < found.media_files
    total = [anyio.run(partial(verify, kept, now=NOW + day * DAY, share=0.1, media=True)) for day in range(11)]
    assert sum(one.media_read for one in total) == found.media_files, "each part has its day"


def remove(root: Path, path: str) -> None:
    (root / path).unlink()


@pytest.mark.parametrize(
    ("damage", "what", "is_shared"),
    [(remove, "missing", False), (truncate, "size", True), (flip, "sha256", False), (flip, "sha256", True)],
)
def test_damaged_media_is_named_and_its_rows_taken_out(
    damage: Callable[[Path, str], None], what: str, is_shared: bool, kept: Path
) -> None:
    before = recordings(kept)
    paths = [row["path"] for row in before.values() if row["path"]]
    path = max(paths, key=paths.count) if is_shared else named(kept)[3]
    assert (paths.count(path) > 1) == is_shared
    damage(kept, path)
    damaged = (kept / path).read_bytes() if (kept / path).exists() else None
    if damage is flip:
        assert check(kept).sound, "without --media, bytes are not read"
    found = check(kept, media=True)
    assert [(problem.file, problem.what) for problem in found.problems] == [(path, what)]
    assert found.exit_status == 6
    assert recordings(kept) == before, "a verification changes nothing"
    mended = check(kept, media=True, repair=True)
    lost = {name for name, row in before.items() if row["path"] == path}
    assert (mended.sound, mended.dropped_recordings) == (True, len(lost))
    assert (mended.state, mended.uncovered) == ("complete", ()), "conversations are not read again"
    assert recordings(kept) == {name: row for name, row in before.items() if name not in lost}
    check_media(kept)
    assert (kept / "_SUCCESS").exists()
    told = "\n".join(describe_verified(mended, kept))
    assert "the source may no longer have them" in told
    aside = [one for one in (kept / "_exporter/dropped").rglob("*.dropped") if one.is_file()]
    assert [one.read_bytes() for one in aside] == ([] if damaged is None else [damaged])
    assert check(kept, media=True).problems == ()
    # Until the same was fetched again, the damaged file may be all that there is.
    done = sweep(kept)
    assert len(done.dropped_needed) == len(aside)
    told = "\n".join(describe_vacuumed(done, kept, False))
    assert ("for recordings that are nowhere else" in told) == bool(aside)
    record(kept, {name: before[name]["sha256"] and _name_of(before, name) for name in lost})
    assert recordings(kept).keys() == before.keys()
    assert sweep(kept).dropped_files == len(aside)
    assert not [one for one in (kept / "_exporter/dropped").rglob("*") if one.is_file()]
    assert check(kept, media=True).problems == ()


def _name_of(rows: dict[str, dict[str, Any]], identity: str) -> str:
    """Returns the name of the recording that a row has."""
    names = ("", "shared-0", "shared-1")
    return next(
        name for name in names if hashlib.sha256(audio(name or identity)).hexdigest() == rows[identity]["sha256"]
    )


@pytest.mark.parametrize("damage", [flip, remove])
def test_a_damaged_part_of_recordings_goes_alone(damage: Callable[[Path, str], None], kept: Path) -> None:
    before, part = recordings(kept), state_of(kept).recordings[2]
    own = {row["path"] for row in pq.ParquetFile(kept / part.path).read().to_pylist() if row["path"]}
    assert own
    damage(kept, part.path)
    found = check(kept)
    assert {problem.file for problem in found.problems} == {part.path}
    assert found.drops == (part.path,)
    mended = check(kept, repair=True)
    assert (mended.sound, mended.state, mended.uncovered) == (True, "complete", ())
    assert (mended.dropped_recordings, len(recordings(kept))) == (part.rows, len(before) - part.rows)
    check_media(kept)
    dropped = {
        one.relative_to(kept / str(mended.dropped_to)).as_posix().removesuffix(".dropped")
        for one in (kept / "_exporter/dropped").rglob("*.dropped")
        if one.is_file()
    }
    assert dropped == own | ({part.path} if damage is not remove else set()), "nothing that a row has named is deleted"
    assert check(kept, media=True).problems == ()


def test_media_that_no_row_names_is_garbage(kept: Path) -> None:
    path = named(kept)[0]
    stray = path[: -len("0" * 64 + ".ogg")] + "0" * 64 + ".ogg"
    shutil.copy(kept / path, kept / stray)
    assert [(problem.file, problem.what) for problem in check(kept).problems] == [(stray, "behind")]
    assert check(kept).sound
    told = sweep(kept, dry_run=True)
    assert (told.media_files, told.media_bytes) == (1, (kept / path).stat().st_size)
    assert (kept / stray).exists()
    assert any("would delete 1 recording" in line for line in describe_vacuumed(told, kept, True))
    assert sweep(kept).media_files == 1
    check_media(kept)
    shutil.copy(kept / path, kept / stray)
    check(kept, repair=True)
    check_media(kept)


def test_all_media_that_no_row_names_is_told_in_one_line(kept: Path) -> None:
    def told(found: VerifyResult) -> list[str]:
        return [line for line in describe_verified(found, kept) if "no row of recordings names it" in line]

    path = named(kept)[0]
    strays = [path[: -len("0" * 64 + ".ogg")] + f"{number:064}.ogg" for number in range(3)]
    for number, stray in enumerate(strays, start=1):
        shutil.copy(kept / path, kept / stray)
        found = check(kept)
        assert len(found.problems) == number
        (line,) = told(found)
        assert line.startswith(
            f"  {strays[0]}{('', ' and 1 other like it', ' and 2 others like it')[number - 1]}: no row"
        )
    # The last run was killed: what it has left is no damage, and is said once to be its own.
    journal = kept / "_exporter/runs.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    found = check(kept)
    assert (found.sound, found.was_killed, len(found.problems)) == (True, True, 3)
    detail = "no row of recordings names it: a run that was killed left it, and exporter vacuum deletes it"
    assert told(found) == [f"  {strays[0]} and 2 others like it: {detail}"]
    (line,) = told(check(kept, repair=True))
    assert line == f"  mended: {strays[0]} and 2 others like it: {detail}"


def test_the_command_that_reads_what_is_damaged_is_named(kept: Path) -> None:
    def told() -> str:
        return "\n".join(describe_verified(check(kept, media=True), kept))

    truncate(kept, named(kept)[0])
    assert "so that the next exporter recordings asks for it again." in told()
    truncate(kept, state_of(kept).conversations[0].path)
    assert "so that the next export, or for recordings the next exporter recordings, reads it again." in told()
    assert check(kept, media=True, repair=True).sound
    truncate(kept, state_of(kept).conversations[0].path)
    assert "so that the next export reads it again." in told()


def test_a_row_whose_conversation_is_not_there_is_no_problem(kept: Path) -> None:
    part = state_of(kept).recordings[0]
    rewrite(kept, part.path, with_column("conversation_id", lambda ids: ["stranger", *ids.to_pylist()[1:]]))
    found = check(kept)
    assert (found.problems, found.strays) == ((), 1)
    assert any("1 recording without a conversation" in line for line in describe_verified(found, kept))


def test_an_id_is_there_once(kept: Path) -> None:
    one, other = state_of(kept).recordings[:2]
    first = pq.ParquetFile(kept / one.path).read()
    identity = next(row["conversation_id"] for row in first.to_pylist() if row["status"] == "stored")
    rewrite(kept, other.path, with_column("conversation_id", lambda ids: [identity, *ids.to_pylist()[1:]]))
    assert {(problem.file, problem.what) for problem in check(kept).problems} == {
        (one.path, "duplicate"),
        (other.path, "duplicate"),
    }
    mended = check(kept, repair=True)
    assert (mended.sound, mended.dropped_recordings) == (True, 1)
    assert identity in recordings(kept)
    check_media(kept)
    assert check(kept).sound


def test_a_row_that_does_not_say_where_its_media_lies(kept: Path) -> None:
    part = next(file for file in state_of(kept).recordings if file.media_files)
    rewrite(
        kept,
        part.path,
        with_column("path", lambda paths: ["media/../../x" if path else None for path in paths.to_pylist()]),
    )
    found = check(kept)
    assert (part.path, "values") in {(problem.file, problem.what) for problem in found.problems}


def test_many_rows_are_looked_at_in_turns(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_of_media, "_ROWS_AT_ONCE", 1)
    assert check(kept, media=True).media_read == len(media(kept))
    path = named(kept)[0]
    truncate(kept, path)
    part = state_of(kept).recordings[0]
    rewrite(kept, part.path, with_column("path", lambda paths: [path and "x" for path in paths.to_pylist()]))
    problems = [(problem.file, problem.what) for problem in check(kept).problems if problem.what != "orphan"]
    assert len(problems) == len(set(problems)), "a problem is named once"


def test_small_parts_are_joined_and_media_left_alone(kept: Path) -> None:
    names = [*conversations(kept)]
    for name in names[61:67:2]:
        record(kept, {name: ""}, joins=False)
    before, files, parts = recordings(kept), media(kept), len(state_of(kept).recordings)
    times = {path: (kept / path).stat().st_mtime_ns for path in files}
    assert join(kept).changed
    assert len(state_of(kept).recordings) < parts
    assert (recordings(kept), media(kept)) == (before, files)
    assert {path: (kept / path).stat().st_mtime_ns for path in files} == times
    assert not join(kept).changed, "once is enough"
    assert check(kept, media=True).problems == ()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Makes an export of two days with six recordings, two of them the same."""
    since = UNTIL - 2 * DAY
    root = make_export(tmp_path / "small", make_conversations(12, since, UNTIL, transcripts=False), since)
    names = [*conversations(root)]
    record(root, dict.fromkeys(names[:6], "") | {names[5]: "the same", names[4]: "the same"})
    return root


def killed(what: str, export: Path, directory: Path, stride: int | None = None) -> list[Path]:
    """Returns copies of an export in which this work was killed; in the last one it was not."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
    script = str(Path(__file__).with_name("killed_recordings.py"))
    command = [sys.executable, script, what, str(export), str(directory), str(stride or size_of(11, 1))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [Path(line) for line in done.stdout.splitlines()]


def test_a_repair_that_is_killed_keeps_no_damage(small: Path, tmp_path: Path) -> None:
    before = recordings(small)
    path = named(small)[0]
    (lost,) = (name for name, row in before.items() if row["path"] == path)
    flip(small, path)
    damaged = (small / path).read_bytes()
    roots, seen = killed("repair", small, tmp_path / "killed"), set[tuple[bool, bool]]()
    for root in roots:
        has_row, is_there = lost in recordings(root), (root / path).exists()
        aside = [one.read_bytes() for one in (root / "_exporter/dropped").rglob("*.dropped") if one.is_file()]
        there = [(root / path).read_bytes()] if is_there else []
        assert {*there, *aside} == {damaged}, "it may be all that there is"
        assert has_row or not is_there, "the next run would take it for what it fetches again"
        if (has_row, is_there) in seen and root != roots[-1]:
            continue
        seen.add((has_row, is_there))
        assert any(problem.file == path for problem in check(root, media=True).problems) == has_row
        check(root, media=True, repair=True)
        record(root, {lost: ""})
        assert recordings(root).keys() == before.keys()
        check_media(root)
    assert seen == {(True, True), (True, False), (False, False)}


def test_a_move_that_is_killed_leaves_each_row_its_media(small: Path, tmp_path: Path) -> None:
    gone, moves, *_ = conversations(small)
    old = recordings(small)[moves]["path"]
    roots, seen = killed("move", small, tmp_path / "killed"), set[tuple[bool, bool, int]]()
    for root in roots:
        rows = recordings(root)
        assert all((root / row["path"]).exists() for row in rows.values() if row["path"])
        is_old, count = rows[moves]["path"] == old, len(media(root))
        assert (gone in rows) == is_old, "both or neither"
        if (is_old, gone in rows, count) in seen and root != roots[-1]:
            continue
        seen.add((is_old, gone in rows, count))
        join(root)
        check_media(root)
        assert recordings(root) == rows
    assert {is_old for is_old, _, _ in seen} == {True, False}
    assert len({count for _, _, count in seen}) > 2, "some media is left behind by some kills"
