"""An erasure that is killed before any step is finished by running it again; any other run takes away what is left."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import anyio
import pytest

from exporter.errors import DamagedPartError, ErasureUnfinishedError, StoreError
from exporter.jobs.compact import compact
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.layout import SUCCESS
from exporter.progress import Quiet
from exporter.store.local.store import LocalStore
from tests.jobs.damage import truncate
from tests.jobs.erasing import check, erase_from, ids, status_of
from tests.jobs.made import NOW, make_exports
from tests.toolkit.recorded import check_media, conversations, media, record, recordings, state_of
from tests.toolkit.sizes import size_of

Run = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes an export with some recordings."""
    root = make_exports(tmp_path_factory.mktemp("made"))["complete"]
    record(root, dict.fromkeys([*conversations(root)][:40:5], ""))
    return root


@pytest.fixture
def export(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def hers_in(root: Path) -> list[str]:
    """Returns conversations with a recording and without, in several parts."""
    return [*conversations(root)][::75] + [*recordings(root)][:2]


def compacted(root: Path) -> object:
    return anyio.run(partial(compact, root, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet()))


def vacuumed(root: Path) -> object:
    return anyio.run(partial(vacuum, root, before=NOW, now=NOW))


def test_media_goes_as_well(export: Path) -> None:
    hers = hers_in(export)
    paths = {row["path"] for name, row in recordings(export).items() if name in hers}
    done = erase_from(export, ids=hers)
    assert (done.exit_status, done.erased.recordings, done.erased.media_files) == (0, 3, 3)
    assert not {*hers} & {*recordings(export)}
    assert not paths & media(export)
    check_media(export)
    assert check(export).problems == ()


def test_killed_before_any_step(export: Path, tmp_path: Path) -> None:
    hers = hers_in(export)
    everybody = ids(export)
    command = [sys.executable, "-m", "tests.jobs.killed_erase", str(export), str(tmp_path), str(size_of(37, 1)), *hers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr
    roots = [Path(line) for line in done.stdout.splitlines()]
    assert len(roots) > 5
    others: list[Run] = [compacted, vacuumed]
    unfinished = 0
    for number, root in enumerate(roots):
        state = state_of(root)
        is_committed = bool(state.privacy.erasures)
        if is_committed:
            assert not {*hers} & {row for file in state.conversations for row in _ids_of(root, file.path)}
        if state.privacy.unfinished:
            unfinished += 1
            found = status_of(root)
            assert (found.exit_status, "erasure is not finished" in found.reason) == (1, True)
            judged = check(root)
            assert judged.exit_status == 1, judged.problems
            others[number % 2](root)
            assert ids(root) == everybody - {*hers}, "any other run takes away what is left"
            check_media(root)
        again = erase_from(root, ids=hers)
        assert again.exit_status == 0
        assert len(again.finished) == int(not is_committed or bool(state.privacy.unfinished))
        assert ids(root) == everybody - {*hers}
        assert len(state_of(root).privacy.erasures) == 1
        check_media(root)
        found_in_the_end = check(root)
        assert (found_in_the_end.exit_status, found_in_the_end.problems) == (0, ())
        assert (root / SUCCESS).exists()
        shutil.rmtree(root)
    assert unfinished


def _ids_of(root: Path, path: str) -> set[str]:
    import pyarrow.parquet as pq

    return {*pq.ParquetFile(root / path).read(["id"])["id"].to_pylist()}


def cut_short(root: Path, hers: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> pytest.ExceptionInfo[StoreError]:
    """Begins an erasure on a disk that fails after the commit."""
    delete = LocalStore.delete

    async def fails(store: LocalStore, *paths: str) -> None:
        if any(path.startswith("conversations/") for path in paths):
            raise StoreError(f"{paths[0]}: the disk fails")
        await delete(store, *paths)

    with monkeypatch.context() as failing:
        failing.setattr(LocalStore, "delete", fails)
        with pytest.raises(ErasureUnfinishedError, match="exporter erase") as failed:
            erase_from(root, ids=hers)
    return failed


def test_a_disk_that_fails_after_the_commit(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hers = hers_in(export)
    failed = cut_short(export, hers, monkeypatch)
    assert not any(name in str(failed.value) for name in hers)
    assert not (export / SUCCESS).exists(), "beside parts that are to go"
    assert status_of(export).exit_status == 1
    # Without saying whom, it goes on with what was begun.
    done = erase_from(export)
    assert (done.exit_status, len(done.finished), done.certificate) == (0, 1, None)
    assert status_of(export).exit_status == 0
    assert not {*hers} & ids(export)


@pytest.mark.parametrize("damage", [None, truncate])
def test_a_repair_meets_what_remains(
    damage: Callable[[Path, str], None] | None, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hers = hers_in(export)
    sounds = {(export / row["path"]).read_bytes() for name, row in recordings(export).items() if name in hers}
    cut_short(export, hers, monkeypatch)
    part = state_of(export).recordings[0]
    if damage is None:
        (export / part.path).unlink()
    else:
        damage(export, part.path)
    with pytest.raises(DamagedPartError, match=r"exporter verify .* --repair"):
        compacted(export)
    mended = anyio.run(partial(verify, export, now=NOW, repair=True))
    assert (mended.sound, mended.dropped_recordings, mended.uncovered) == (True, part.rows, ())
    assert check(export).problems == ()
    assert (export / SUCCESS).exists()
    # What lay beside the part may have been hers.
    assert erase_from(export).exit_status == 0
    assert sounds.isdisjoint(path.read_bytes() for path in export.rglob("*") if path.is_file())
    assert check(export).exit_status == 0
