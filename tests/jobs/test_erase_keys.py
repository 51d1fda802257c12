"""An erasure in an export that is encrypted, has erasures already, or waits for a run that was cut short."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from exporter.errors import ProtectionError, StoreError
from exporter.jobs.protect import ProtectResult, protect
from exporter.keys import DATA_VARIABLE, PRIVACY_VARIABLE, Keys
from exporter.log.commits import load_state
from exporter.parts import rewrite
from exporter.privacy import EncryptionMode, KeyReference
from exporter.progress import Quiet
from exporter.store.local.store import LocalStore
from tests.jobs import protected, test_rekey
from tests.jobs.erasing import KEYS, SECRET, check, erase_from, ids
from tests.jobs.protected import OTHER_KEYS, REFERENCE, fingerprints, policy
from tests.jobs.test_protect import cut_short
from tests.jobs.test_recordings_encrypted import keys as data_keys
from tests.jobs.test_recordings_encrypted import world
from tests.toolkit.recordings import call, media_files

BOTH = Keys({**KEYS.environment, DATA_VARIABLE: test_rekey.text_of("d1")})
SOMEBODY = test_rekey.SOMEBODY


def brought_under(root: Path, rules: Any, keys: Keys = KEYS) -> ProtectResult:
    async def run() -> ProtectResult:
        return await protect(root, rules, keys=keys, memory_bytes=2**28, observer=Quiet())

    return anyio.run(run)


@pytest.mark.parametrize("mode", test_rekey.MODES)
def test_encrypted_parts_are_searched_and_written_again(tmp_path: Path, mode: EncryptionMode) -> None:
    root = test_rekey.made(tmp_path / "out", mode)
    planned = erase_from(root, BOTH, by="id", values=[SOMEBODY], dry_run=True)
    done = erase_from(root, BOTH, by="id", values=[SOMEBODY], future=True)
    assert (done.exit_status, done.left, len(done.finished)) == (0, (), 1)
    assert planned.erased.turns == done.erased.turns > 0
    assert not erase_from(root, BOTH, ids=[SOMEBODY], dry_run=True).erased.conversations
    state = test_rekey.state_of(root)
    assert state.totals.rows == 59
    assert {file.key for file in state.files.values()} == {"d1"}
    assert test_rekey.check(root).problems == ()


@pytest.mark.anyio
async def test_encrypted_audio_goes_as_well(tmp_path: Path) -> None:
    rows = [call(number) for number in range(4)]
    keys = Keys({**data_keys().environment, PRIVACY_VARIABLE: SECRET})
    async with world(tmp_path, rows) as source:
        await source.export()
        await source.keep()
        before = media_files(source.root)
        done = await anyio.to_thread.run_sync(lambda: erase_from(source.root, keys, ids=["c1"]))
        assert (done.exit_status, done.erased.recordings, done.erased.media_files) == (0, 1, 1)
        assert len(before) - len(media_files(source.root)) == 1
        await source.check([row for row in rows if row.fields["id"] != "c1"])
        assert (await source.verify()).problems == ()


def test_a_protection_that_was_cut_short_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "out"
    protected.run(root)
    cut_short(root, monkeypatch)
    before, somebody = fingerprints(root), min(ids(root))
    for dry_run in (True, False):
        with pytest.raises(ProtectionError, match="exporter protect"):
            erase_from(root, ids=[somebody], dry_run=dry_run)
    assert fingerprints(root) == before
    brought_under(root, None)
    assert erase_from(root, ids=[somebody]).exit_status == 0
    assert somebody not in ids(root)


def test_another_key_that_was_cut_short_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = test_rekey.made(tmp_path / "out")
    whole, failing = rewrite.rewrite_part, iter([False])

    def fail(*args: Any) -> Any:
        if next(failing, True):
            raise StoreError("the disk is gone")
        return whole(*args)

    with monkeypatch.context() as patched, pytest.raises(StoreError, match="the disk is gone"):
        patched.setattr("exporter.jobs.rekey.rewrite_part", fail)
        test_rekey.change_key(root)
    before = fingerprints(root)
    for name in ("d1", "d2"):
        for dry_run in (True, False):
            keys = Keys({**KEYS.environment, DATA_VARIABLE: test_rekey.text_of(name)})
            with pytest.raises(ProtectionError, match=r"exporter rekey|not the key d2"):
                erase_from(root, keys, ids=[SOMEBODY], dry_run=dry_run)
    assert fingerprints(root) == before
    test_rekey.change_key(root)
    keys = Keys({**KEYS.environment, DATA_VARIABLE: test_rekey.text_of("d2")})
    assert erase_from(root, keys, ids=[SOMEBODY]).exit_status == 0
    assert test_rekey.state_of(root).totals.rows == 59


def test_an_erasure_takes_no_other_key_than_the_first(tmp_path: Path) -> None:
    root = tmp_path / "out"
    protected.run(root)
    one, two, *_ = sorted(ids(root))
    erase_from(root, ids=[one])
    before = fingerprints(root)
    with pytest.raises(ProtectionError, match=r"(?s)not the key k1.*The key of the first erasure") as refused:
        erase_from(root, OTHER_KEYS, ids=[two])
    assert refused.value.exit_status == 2
    other = KeyReference(name="k2", env=PRIVACY_VARIABLE)
    for keys, reference in ((OTHER_KEYS, REFERENCE), (OTHER_KEYS, other), (KEYS, other)):
        with pytest.raises(ProtectionError, match="erased with the key k1"):
            brought_under(root, policy(key=reference), keys)
    assert fingerprints(root) == before
    brought_under(root, policy())
    assert erase_from(root, ids=[two]).exit_status == 0
    assert not {one, two} & ids(root)
    assert check(root).problems == ()
    assert len(anyio.run(load_state, LocalStore(root)).privacy.erasures) == 2
