"""Every kind of damage is found and named, and nothing else is; files that a run at work leaves are no damage."""

import json
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest

from exporter.cli.upkeep_report import describe_verified
from exporter.contract import DAY
from exporter.errors import DestinationError, DestinationLockedError, OvertakenError, StoreError
from exporter.jobs.verify import VerifyResult, verify
from exporter.layout import RUNS
from exporter.log.commits import CommitLog
from exporter.log.manifest import render_manifest
from exporter.log.state import State
from exporter.model import Change
from exporter.parts import integrity
from exporter.run.record import author_of
from exporter.store.local.store import LocalStore
from exporter.verification.loss import Loss, plan_loss
from tests.jobs.damage import (
    Json,
    a_day_later,
    edit_commits,
    flip,
    parts,
    quarantine,
    rewrite,
    settle,
    share_an_id,
    swap,
    tell,
    truncate,
    with_column,
)
from tests.jobs.made import NOW


def check(root: Path, **options: Any) -> VerifyResult:
    return anyio.run(partial(verify, root, now=NOW, **options))


def found_at(root: Path) -> list[tuple[str, str]]:
    verified = check(root)
    assert all(problem.detail for problem in verified.problems)
    assert verified.writer is None
    return [(problem.file, problem.what) for problem in verified.problems]


def commit(number: int) -> str:
    return f"_exporter/commits/{number:08d}.json"


def test_a_sound_export(exports: dict[str, Path]) -> None:
    verified = check(exports["complete"])
    assert (verified.problems, verified.sound, verified.state) == ((), True, "complete")
    assert (verified.rows, verified.ids_compared, verified.quarantine_files) == (300, 300, 0)
    assert (verified.files_read, verified.bytes_read) == (verified.files, verified.bytes)
    verified = check(exports["odd"])
    assert (verified.problems, verified.sound, verified.state) == ((), True, "unproven")
    assert (verified.rows, verified.quarantine_files > 0) == (300, True)


def remove_last_commit(root: Path) -> None:
    max((root / "_exporter/commits").iterdir()).unlink()


def overlap_windows(root: Path) -> None:
    """Makes the first file of the log speak for times before it as well."""
    done: list[str] = []

    def edit(commit: Json) -> None:
        for file in commit["change"].get("adds", []):
            if not done:
                file["window"]["start"] -= 1_000 * DAY
                done.append(file["path"])

    edit_commits(root, edit)


def another_table(root: Path) -> None:
    """Makes the log count a file to a table that this export does not have."""

    def edit(commit: Json) -> None:
        for file in commit["change"].get("adds", []):
            if file["path"] == parts(root)[0]:
                file["table"] = "turns"

    path = parts(root)[0]
    edit_commits(root, edit)
    settle(root)
    assert path not in parts(root)


def edit_manifest(root: Path, edit: Callable[[Json], object]) -> None:
    manifest = json.loads((root / "_manifest.json").read_bytes())
    edit(manifest)
    (root / "_manifest.json").write_text(json.dumps(manifest))


def leave(root: Path, path: str) -> None:
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_bytes(b"PAR1")


@dataclass(frozen=True)
class Case:
    """Holds a damage to an export, given the paths of its parts, and the problems that come of it."""

    damage: Callable[[Path, list[str]], object]
    problems: Callable[[list[str]], list[tuple[str, str]]]


def of_first(*whats: str) -> Callable[[list[str]], list[tuple[str, str]]]:
    return lambda paths: [(paths[0], what) for what in whats]


def of(path: str, what: str) -> Callable[[list[str]], list[tuple[str, str]]]:
    return lambda paths: [(path, what)]


ORPHAN = "conversations/created_date=2026-01-01/part-left-000001.parquet"

CASES = {
    "a bit": Case(lambda root, paths: flip(root, paths[0]), of_first("sha256")),
    "an end": Case(lambda root, paths: truncate(root, paths[0]), of_first("size")),
    "a file": Case(lambda root, paths: (root / paths[0]).unlink(), of_first("missing")),
    "a directory": Case(lambda root, paths: shutil.rmtree((root / paths[0]).parent), of_first("missing")),
    "an orphan": Case(lambda root, paths: leave(root, ORPHAN), of(ORPHAN, "orphan")),
    "an orphan in quarantine": Case(
        lambda root, paths: leave(root, "_exporter/quarantine/left.jsonl"),
        of("_exporter/quarantine/left.jsonl", "orphan"),
    ),
    "a stranger": Case(
        lambda root, paths: leave(root, "conversations/more.parquet"), of("conversations/more.parquet", "stranger")
    ),
    "what only looks hidden": Case(
        lambda root, paths: leave(root, "conversations/._more.parquet"), of("conversations/._more.parquet", "stranger")
    ),
    "two files": Case(
        lambda root, paths: swap(root, paths[0], paths[1]),
        lambda paths: [(paths[0], "size"), (paths[1], "size")],
    ),
    "a number in the manifest": Case(
        lambda root, paths: edit_manifest(root, lambda manifest: manifest["totals"].update(rows=5)),
        of("_manifest.json", "manifest"),
    ),
    "more in the manifest": Case(
        lambda root, paths: edit_manifest(root, lambda manifest: manifest.update(more=None)),
        of("_manifest.json", "manifest"),
    ),
    "less in the manifest": Case(
        lambda root, paths: edit_manifest(root, lambda manifest: manifest.pop("unproven")),
        of("_manifest.json", "manifest"),
    ),
    "no manifest": Case(
        lambda root, paths: (root / "_manifest.json").unlink(),
        of("_manifest.json", "manifest"),
    ),
    "a text as manifest": Case(
        lambda root, paths: (root / "_manifest.json").write_text("hello"), of("_manifest.json", "manifest")
    ),
    "an id in two files": Case(
        lambda root, paths: share_an_id(root, paths[0], paths[1]),
        lambda paths: [(paths[0], "duplicate"), (paths[1], "duplicate")],
    ),
    "an id twice in a file": Case(
        lambda root, paths: rewrite(
            root, paths[0], with_column("id", lambda ids: [ids[1].as_py(), *ids.to_pylist()[1:]])
        ),
        of_first("duplicate"),
    ),
    "rows elsewhere": Case(
        lambda root, paths: rewrite(root, paths[0], with_column("created_at", a_day_later)),
        of_first("partition", "times", "window"),
    ),
    "rows out of order": Case(
        lambda root, paths: rewrite(root, paths[0], lambda table: table.take(list(reversed(range(table.num_rows))))),
        of_first("order"),
    ),
    "a row less": Case(
        lambda root, paths: rewrite(root, paths[0], lambda table: pa.concat_tables([table[:1], table[2:]])),
        of_first("rows"),
    ),
    "a row without id": Case(
        lambda root, paths: rewrite(root, paths[0], with_column("id", lambda ids: [None, *ids.to_pylist()[1:]])),
        of_first("values"),
    ),
    "a row without time": Case(
        lambda root, paths: rewrite(
            root, paths[0], with_column("created_at", lambda times: [times[0], None, *times.to_pylist()[2:]])
        ),
        of_first("values"),
    ),
    "a column less": Case(
        lambda root, paths: rewrite(root, paths[0], lambda table: table.drop_columns(["summary"])), of_first("schema")
    ),
    "another type": Case(
        lambda root, paths: rewrite(
            root, paths[0], lambda table: table.cast(table.schema.set(0, pa.field("id", pa.large_string())))
        ),
        of_first("schema"),
    ),
    "other rows in the log": Case(lambda root, paths: tell(root, paths[0], rows=99), of_first("rows")),
    "another partition in the log": Case(
        lambda root, paths: tell(root, paths[0], partition={"created_date": "2020-01-01"}),
        of_first("partition", "partition"),
    ),
    "another table": Case(lambda root, paths: another_table(root), of_first("partition", "schema")),
    "no mark": Case(lambda root, paths: (root / "_SUCCESS").unlink(), of("_SUCCESS", "success")),
}


CLUTTER = (
    ".nfs000000000004e2a100000001",
    ".DS_Store",
    "._.DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".gitkeep",
    ".Trash-1000/files/x",
    "lost+found/#1",
    ".snapshot/daily/part",
    "@eaDir/thumb",
)


def test_what_systems_leave_beside_parts_is_no_alarm(complete: Path) -> None:
    for beside in ("conversations", parts(complete)[0].rpartition("/")[0], "_exporter/quarantine"):
        for name in CLUTTER:
            (complete / beside / name).parent.mkdir(parents=True, exist_ok=True)
            (complete / beside / name).write_bytes(b"?")
    assert found_at(complete) == []


@pytest.mark.parametrize("name", CASES)
def test_damage_is_found_and_named_and_nothing_else(name: str, complete: Path) -> None:
    paths, case = parts(complete), CASES[name]
    case.damage(complete, paths)
    assert found_at(complete) == case.problems(paths)


@pytest.mark.parametrize("name", CASES)
def test_a_repair_leaves_what_is_sound(name: str, complete: Path) -> None:
    paths, case = parts(complete), CASES[name]
    before = check(complete).files
    case.damage(complete, paths)
    verified = check(complete, repair=True)
    lasting = {"a stranger", "what only looks hidden"}
    assert verified.sound == (name not in lasting)
    assert {(problem.file, problem.what) for problem in verified.problems} == set(case.problems(paths))
    spoiled = {file for file, _ in case.problems(paths)} & set(paths)
    assert verified.dropped == len(spoiled)
    assert verified.files == before - len(spoiled)
    assert verified.state == ("incomplete" if spoiled else "complete")
    assert bool(verified.uncovered) == bool(spoiled)
    assert not any((complete / path).exists() for path in spoiled)
    assert found_at(complete) == (case.problems(paths) if name in lasting else [])


def test_two_things_at_once_are_both_named(complete: Path) -> None:
    paths = parts(complete)
    flip(complete, paths[0])
    (complete / paths[1]).unlink()
    (complete / "_SUCCESS").unlink()
    assert found_at(complete) == [("_SUCCESS", "success"), (paths[0], "sha256"), (paths[1], "missing")]


@pytest.mark.parametrize(
    ("damage", "number"),
    [
        (lambda root: truncate(root, commit(2)), 2),
        (lambda root: (root / commit(1)).unlink(), 1),
        (lambda root: (root / commit(1)).write_text("{}"), 1),
        (overlap_windows, 2),
    ],
    ids=["cut", "missing", "no commit", "windows that overlap"],
)
def test_a_damaged_log_is_named_and_no_repair_touches_anything(
    damage: Callable[[Path], object], number: int, complete: Path
) -> None:
    damage(complete)
    for repair in (False, True):
        verified = check(complete, repair=repair)
        assert (verified.state, verified.sound) == (None, False)
        (problem,) = verified.problems
        assert (problem.file, problem.what, problem.mended) == (commit(number), "log", False)
    assert parts(complete)


def test_commits_that_the_manifest_knows_and_the_log_has_lost(complete: Path) -> None:
    lost = len(list((complete / "_exporter/commits").iterdir()))
    remove_last_commit(complete)
    before = parts(complete)
    for repair in (False, True):
        verified = check(complete, repair=repair)
        assert not verified.sound
        problems = {(problem.file, problem.what) for problem in verified.problems}
        assert (commit(lost), "log") in problems
        # If the last commit has merged parts, those that it took are missing; otherwise it has said that each row is in
        # one place.
        found = {what for _, what in problems}
        assert found in ({"log", "orphan", "missing"}, {"log", "success"})
        # The files of the lost commit are not swept away.
        assert not any(problem.mended for problem in verified.problems)
    assert all((complete / path).exists() for path in before)


def test_a_manifest_that_is_behind_the_log_is_no_cause_for_alarm(complete: Path) -> None:
    commits = len(list((complete / "_exporter/commits").iterdir()))
    edit_manifest(complete, lambda manifest: manifest.update(generation=commits - 1, state="incomplete"))
    verified = check(complete)
    assert [(problem.file, problem.what, problem.detail) for problem in verified.problems] == [
        (
            "_manifest.json",
            "behind",
            f"rests on {commits - 1} of the {commits} commits, as after a run that was killed; the next run brings it "
            "up to date",
        )
    ]
    assert "--repair" not in "\n".join(describe_verified(verified, complete))
    assert check(complete, repair=True).sound
    assert check(complete).problems == ()


def test_a_log_that_is_gone_while_its_manifest_is_there(complete: Path) -> None:
    shutil.rmtree(complete / "_exporter/commits")
    assert [(problem.file, problem.what) for problem in check(complete).problems] == [("_exporter/commits", "log")]


@pytest.mark.parametrize("repair", [False, True])
def test_where_no_export_is_nothing_is_made(repair: bool, tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="no export"):
        check(tmp_path, repair=repair)
    with pytest.raises(DestinationError, match="no export"):
        check(tmp_path / "none", repair=repair)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda root, path: flip(root, path), "sha256"),
        (lambda root, path: truncate(root, path), "size"),
        (lambda root, path: (root / path).unlink(), "missing"),
        (lambda root, path: tell(root, path, rows=99), "rows"),
    ],
)
def test_quarantine(damage: Callable[[Path, str], object], what: str, odd: Path) -> None:
    path = quarantine(odd)[0]
    damage(odd, path)
    assert found_at(odd) == [(path, what)]
    verified = check(odd, repair=True)
    assert verified.sound
    assert verified.state == "incomplete"
    assert found_at(odd) == []


def test_a_stale_mark(odd: Path) -> None:
    (odd / "_SUCCESS").touch()
    assert found_at(odd) == [("_SUCCESS", "success")]
    assert check(odd, repair=True).sound
    assert not (odd / "_SUCCESS").exists()


def test_what_cannot_be_read_at_all_says_nothing_about_the_file(
    complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise StoreError(f"{path}: permission denied")

    monkeypatch.setattr(integrity, "hash_file", refuse)
    with pytest.raises(StoreError, match="permission denied"):
        check(complete)


def snapshot(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.rglob("*")}


def test_without_repair_nothing_is_written_but_a_line_of_the_journal(complete: Path) -> None:
    flip(complete, parts(complete)[0])
    leave(complete, ORPHAN)
    journal = complete / RUNS
    before, runs = snapshot(complete), journal.read_bytes()
    check(complete)
    after = snapshot(complete)
    assert {path for path in before | after if before.get(path) != after.get(path)} == {journal}
    assert journal.read_bytes().startswith(runs)
    line = json.loads(journal.read_bytes().removeprefix(runs))
    assert (line["checked"], line["exit_status"], line["is_whole"]) == ("verify", 6, True)


def test_a_check_needs_no_journal(complete: Path) -> None:
    (complete / RUNS).unlink()
    assert check(complete).exit_status == 0
    assert not (complete / RUNS).exists()


def test_a_repair_of_what_is_sound_commits_nothing(complete: Path) -> None:
    before = {path: stamp for path, stamp in snapshot(complete).items() if path.suffix in (".json", ".parquet")}
    assert check(complete, repair=True).problems == ()
    after = snapshot(complete)
    assert {path: after[path] for path in before} == before


def beside(work: Callable[[], Any]) -> None:
    """Runs `work` to its end in an event loop of its own, as another process would."""
    thread = threading.Thread(target=anyio.run, args=(work,))
    thread.start()
    thread.join()


@pytest.mark.anyio
class TestWhileARunIsAtWork:
    async def test_a_run_that_the_lock_does_not_reach_stops_the_repair(
        self, complete: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The files that it has published meanwhile are not swept."""
        flip(complete, parts(complete)[0])
        leave(complete, ORPHAN)

        async def commit() -> None:
            log = CommitLog(LocalStore(complete), author_of("r1"))
            await log.load()
            await log.append(committed_at=NOW)

        def plan_meanwhile(*arguments: Any) -> Loss:
            beside(commit)
            return plan_loss(*arguments)

        monkeypatch.setattr("exporter.jobs.verify_plan.plan_loss", plan_meanwhile)
        with pytest.raises(OvertakenError):
            await verify(complete, now=NOW, repair=True)
        assert (complete / ORPHAN).exists()
        assert (complete / parts(complete)[0]).exists()

    async def test_what_it_leaves_for_a_moment_is_not_judged_and_the_files_are(self, complete: Path) -> None:
        flip(complete, path := parts(complete)[0])
        leave(complete, ORPHAN)
        (complete / "_SUCCESS").unlink()
        writer = LocalStore(complete)
        await writer.acquire_lock("r1")
        try:
            verified = await verify(complete, now=NOW)
            with pytest.raises(DestinationLockedError, match="r1"):
                await verify(complete, now=NOW, repair=True)
        finally:
            await writer.release_lock()
        assert verified.writer is not None and "r1" in verified.writer
        assert [(problem.file, problem.what) for problem in verified.problems] == [(path, "sha256")]

    async def test_a_run_that_came_and_went_between_two_looks(
        self, complete: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def commit() -> None:
            log = CommitLog(LocalStore(complete), author_of("r1"))
            await log.load()
            await log.append(committed_at=NOW)

        def render_and_commit(state: State, *, schemas: Mapping[str, pa.Schema]) -> bytes:
            beside(commit)
            return render_manifest(state, schemas=schemas)

        monkeypatch.setattr("exporter.verification.inspect.render_manifest", render_and_commit)
        (complete / "_manifest.json").write_text("{}")
        verified = await verify(complete, now=NOW)
        assert (verified.problems, verified.writer) == ((), "a run that has ended meanwhile")

    async def test_files_that_it_has_removed_are_not_missing(
        self, complete: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = parts(complete)[:2]
        (complete / second).unlink()

        async def remove() -> None:
            log = CommitLog(store := LocalStore(complete), author_of("r1"))
            window = (await log.load()).files[first].window
            await log.append(committed_at=NOW, kind="repair", change=Change(uncovers=(window,), removes=(first,)))
            await store.delete(first)

        class Removing(LocalStore):
            async def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
                await remove()
                return await super().sizes(paths)

        monkeypatch.setattr("exporter.store.open.LocalStore", Removing)
        verified = await verify(complete, now=NOW)
        assert [(problem.file, problem.what) for problem in verified.problems] == [(second, "missing")]


def test_samples_take_turns(complete: Path) -> None:
    """By a tenth at a time, every file is read within eleven days; names and sizes are checked each day."""
    paths = parts(complete)
    for path in paths:
        flip(complete, path)
    found = list[str]()
    read = list[int]()
    for day in range(11):
        verified = anyio.run(partial(verify, complete, now=NOW + day * DAY, share=0.1))
        found += [problem.file for problem in verified.problems]
        read.append(verified.files_read)
    assert sorted(found) == paths
    assert sum(read) == verified.files
    assert max(read) < verified.files
    truncate(complete, paths[0])
    assert paths[0] in [problem.file for problem in check(complete, share=0.001).problems]
