"""In an encrypted export, no file tells anything of rows that fit no column to who has no key, whatever runs do."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest

from exporter.clock import wall_clock
from exporter.errors import ProtectionError, UsageError
from exporter.jobs.accept import accept
from exporter.jobs.vacuum import vacuum
from exporter.layout import DROPPED
from exporter.parts.cipher import Cipher, using
from exporter.pipeline import quarantine_files
from exporter.pipeline.quarantine_files import lines_in
from exporter.privacy import EncryptionMode
from exporter.sandbox import Row
from tests.jobs.damage import flip, quarantine, tell, truncate
from tests.jobs.made import NOW
from tests.jobs.sealed import (
    SECRETS,
    audited,
    change_key,
    check,
    erased,
    expired,
    ids_in,
    keys,
    made,
    misfit,
    served,
    state_of,
    synced,
    telling,
)
from tests.toolkit.sizes import size_of, some_of

MODES: tuple[EncryptionMode, ...] = ("uniform", "columns")
IDS = [f"misfit-{number}" for number in range(8)]


def made_by_an_older_exporter(root: Path) -> Path:
    """Makes an encrypted export whose quarantine is plain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quarantine_files, "current", lambda: None)
        return made(root)


def lines_dropped(root: Path, key: str = "d1") -> list[str]:
    """Returns the ids in the quarantine files that repairs have put aside."""
    encryption = state_of(root).privacy.encryption
    assert encryption is not None
    with using(Cipher(encryption, SECRETS[key])):
        paths = sorted((root / DROPPED).rglob("*.jsonl*"))
        lines = [line for path in paths for line in lines_in(path, str(path.relative_to(root)), root)]
    return sorted(json.loads(line)["id"] for line in lines)


@pytest.mark.parametrize("mode", MODES)
def test_no_file_tells_of_a_row_that_fits_no_column(mode: EncryptionMode, tmp_path: Path) -> None:
    root = made(tmp_path / "out", mode)
    assert telling(root) == []
    assert ids_in(root) == IDS
    files = state_of(root).quarantine
    assert all(path.endswith(".jsonl.enc") for path in files)
    assert {file.key for file in files.values()} == {"d1"}
    manifest = json.loads((root / "_manifest.json").read_bytes())
    assert {file["key"] for file in manifest["quarantine"]["files"]} == {"d1"}


def test_a_plain_export_keeps_rows_as_they_were_served(tmp_path: Path) -> None:
    root = made(tmp_path / "out", None)
    files = state_of(root).quarantine
    assert telling(root) == sorted(files)
    assert all(path.endswith(".jsonl") for path in files)


def test_a_verification_without_the_key_compares_sums_alone(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    whole = check(root)
    assert (whole.problems, whole.closed) == ((), 0)
    found = check(root, None)
    assert (found.problems, found.closed) == ((), found.files + found.quarantine_files)
    assert (check(root, None, bytes_only=True).problems, check(root, None, bytes_only=True).closed) == ((), 0)
    path = quarantine(root)[0]
    tell(root, path, rows=99)
    assert [problem.what for problem in check(root).problems] == ["rows"]
    assert check(root, None).problems == ()
    flip(root, path)
    for key in ("d1", None):
        assert [(problem.file, problem.what) for problem in check(root, key).problems] == [(path, "sha256")]


def test_what_runs_change_stays_sealed(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    assert audited(root, served()).same
    # One row fits now, and one has come.
    fits = Row(misfit(0).created_at, wall_clock(), {"id": "misfit-0", "duration": 5})
    synced(root, [*served(0), fits, *map(misfit, range(1, 8)), misfit(8, wall_clock())])
    assert telling(root) == []
    assert ids_in(root) == [*IDS[1:], "misfit-8"]
    assert check(root).problems == ()


def test_what_takes_rows_away_finds_them(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    done = erased(root, "misfit-7")
    assert (done.erased.conversations, done.erased.quarantine_lines, done.left, done.exit_status) == (1, 1, (), 0)
    assert ids_in(root) == IDS[:-1]
    assert expired(root).quarantined > 0
    assert 0 < len(ids_in(root)) < 7
    assert telling(root) == []
    found = check(root)
    assert (found.problems, found.closed) == ((), 0)


def test_what_a_repair_puts_aside_stays_sealed(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    path = quarantine(root)[0]
    tell(root, path, rows=99)
    assert check(root, repair=True).sound
    before = lines_dropped(root)
    assert sorted(before + ids_in(root)) == IDS
    name = before[0]
    assert telling(root) == []
    done = erased(root, name)
    assert (done.erased.dropped_files, done.left) == (1, ())
    assert lines_dropped(root) == before[1:]
    assert telling(root) == []
    # A run reads again what the repair has uncovered, and then nobody needs what was put aside.
    made(root)
    assert ids_in(root) == [other for other in IDS if other != name]
    anyio.run(partial(vacuum, root, before=NOW, now=NOW, keys=keys()))
    assert telling(root) == []


@pytest.mark.parametrize("mode", [None, "uniform"])
def test_an_erasure_names_damaged_lines_that_were_put_aside(mode: EncryptionMode | None, tmp_path: Path) -> None:
    root = made(tmp_path / "out", mode)
    path = quarantine(root)[0]
    truncate(root, path)
    assert check(root, repair=True).sound
    done = erased(root, "misfit-0")
    assert done.exit_status == 3
    assert [path in left for left in done.left] == [True]


def test_lines_that_stay_beside_lost_ones_are_sealed(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    paths = [path for path, file in state_of(root).files.items() if misfit(3).created_at in file.window]
    (root / paths[0]).unlink()
    assert check(root, repair=True).sound
    assert 0 < len(ids_in(root)) < 8
    assert "misfit-3" in lines_dropped(root)
    assert telling(root) == []
    assert check(root).problems == ()


# Another key


@pytest.mark.parametrize("mode", [None, *MODES])
def test_another_key_takes_the_quarantine_along(mode: EncryptionMode | None, tmp_path: Path) -> None:
    root = made(tmp_path / "out", mode)
    anyio.run(partial(accept, root, now=NOW))
    before = state_of(root)
    done = change_key(root, old=None if mode is None else "d1")
    assert (done.quarantine_files, done.exit_status) == (len(before.quarantine), 0)
    after = state_of(root)
    assert {file.key for file in after.quarantine.values()} == {"d2"}
    assert after.quarantined_rows == before.quarantined_rows
    assert len(after.new_doubts) == 0
    assert not any((root / path).exists() for path in before.quarantine)
    assert ids_in(root, "d2") == IDS
    assert telling(root) == []
    found = check(root, "d2")
    assert (found.problems, found.closed, found.exit_status) == ((), 0, 0)
    assert change_key(root, old="d1").quarantine_files == 0
    assert state_of(root).number == after.number


def test_a_quarantine_without_any_part_needs_the_key(tmp_path: Path) -> None:
    root = made(tmp_path / "out", rows=list(map(misfit, range(3))))
    assert not state_of(root).files
    with pytest.raises(ProtectionError, match="is not here"):
        change_key(root, old=None)
    change_key(root)
    assert ids_in(root, "d2") == IDS[:3]


def test_what_an_older_exporter_left_plain_is_read_and_sealed(tmp_path: Path) -> None:
    root = made_by_an_older_exporter(tmp_path / "out")
    assert telling(root) == sorted(state_of(root).quarantine)
    assert (check(root).problems, check(root, None).closed) == ((), len(state_of(root).files))
    assert ids_in(root) == IDS
    erased(root, "misfit-7")
    done = change_key(root, "d1")
    assert (done.files, done.quarantine_files > 0) == (0, True)
    assert telling(root) == []
    assert ids_in(root) == IDS[:-1]
    assert check(root).problems == ()


@pytest.mark.parametrize("mode", some_of([None, "uniform"], "uniform"))
def test_a_change_of_keys_may_be_killed_before_any_step(mode: EncryptionMode | None, tmp_path: Path) -> None:
    root = made(tmp_path / "out", mode, served(3, 2))
    (tmp_path / "killed").mkdir()
    script = str(Path(__file__).with_name("killed_rekey.py"))
    command = [sys.executable, script, str(root), str(tmp_path / "killed"), str(size_of(11, 5))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    killed = [Path(line) for line in done.stdout.split()]
    assert len(killed) > 5
    unfinished = set()
    for copy in killed:
        if mode is not None:
            assert telling(copy) == []
        left = check(copy, state_of(copy).privacy.key_name or None)
        assert left.sound, left.problems
        unfinished.add(left.unfinished)
        change_key(copy)
        assert ids_in(copy, "d2") == IDS[:3]
        assert telling(copy) == [], copy
        assert sorted(quarantine(copy)) == sorted(state_of(copy).quarantine)
        found = check(copy, "d2")
        assert (found.problems, found.closed, found.was_killed, found.unfinished) == ((), 0, False, None)
    assert unfinished == {None, "rekey"}


def test_without_the_package_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
        with pytest.raises(UsageError, match=r"install.*cryptography"):
            made(tmp_path / "out")
    assert not (tmp_path / "out").exists()
