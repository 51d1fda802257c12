"""Encrypted recordings: no file ever holds their audio, the key alone gives it back, and another key can take over."""

import base64
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from exporter.contract import DAY, END_OF_TIME
from exporter.errors import DamagedPartError, ProtectionError, StoreError, UsageError
from exporter.jobs.export import export
from exporter.jobs.recording_audio import give_audio
from exporter.jobs.recordings import recordings
from exporter.jobs.recordings_result import RecordingsResult
from exporter.jobs.rekey import RekeyResult, rekey
from exporter.jobs.sync import sync
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import VerifyResult, verify
from exporter.keys import DATA_VARIABLE, KEY_BYTES, Key, Keys
from exporter.log.commits import load_state
from exporter.media_cipher import key_name_of
from exporter.options.recordings import RETRIED_BY_DEFAULT
from exporter.parts.cipher import Cipher, using
from exporter.parts.reader import read_batches
from exporter.pipeline import recording_reseal
from exporter.privacy import Encryption, KeyReference
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, MediaBehaviour, MediaHost, Row, Sandbox, make_conversations, serve
from exporter.settings import Credentials, RecordingSettings, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.jobs.damage import flip
from tests.jobs.killed_recordings import encrypt
from tests.jobs.made import NOW, UNTIL, make_export
from tests.jobs.test_recordings_kept import killed
from tests.toolkit.recorded import audio, conversations, record
from tests.toolkit.recordings import SMALL, call, media_files
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio

KEYS = {name: Key(name, bytes([number]) * KEY_BYTES) for number, name in enumerate(("d1", "d2"), start=1)}
ENCRYPTED = Encryption(key=KeyReference(name="d1", env=DATA_VARIABLE))
PLAIN = msgspec.structs.replace(ENCRYPTED, recordings="plain")
#: Several chunks, and a part of one.
LARGE = msgspec.structs.replace(SMALL, bytes_each=150_000)
HOME = (ip_network("127.0.0.0/8"),)


def keys(name: str | None = "d1") -> Keys:
    return Keys({} if name is None else {DATA_VARIABLE: base64.b64encode(KEYS[name].secret).decode()})


@dataclass
class World:
    """Holds a source with a media host, and an export that is encrypted, unless its `encryption` says otherwise."""

    sandbox: Sandbox
    media: MediaHost
    root: Path
    encryption: Encryption | None

    def context(self, key: str | None) -> RunContext:
        kept = RecordingSettings(networks=HOME)
        settings = RunSettings(base_url=self.sandbox.url, lag_seconds=0, recordings=kept)
        return RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys(key))

    async def export(self, **asked: Any) -> None:
        await export(self.root, Selection(encryption=self.encryption, **asked), self.context("d1"))

    async def keep(self, key: str | None = "d1") -> RecordingsResult:
        return await recordings(self.root, Selection(), self.context(key), retried=RETRIED_BY_DEFAULT)

    async def verify(self, key: str | None = "d1", **options: Any) -> VerifyResult:
        return await verify(self.root, now=NOW, media=True, keys=keys(key), **options)

    async def rekey(self, to: str, old: str | None = "d1") -> RekeyResult:
        return await rekey(self.root, new_key=KEYS[to], keys=keys(old), memory_bytes=1 << 28, observer=Quiet())

    async def audio(self, identity: str, key: str | None = "d1") -> bytes:
        heard: list[bytes] = []
        await give_audio(self.root, identity, keys(key), lambda chunk: heard.append(bytes(chunk)))
        return b"".join(heard)

    async def rows(self, key: str = "d1") -> dict[str, dict[str, Any]]:
        state = await load_state(LocalStore(self.root))
        with using(Cipher(state.privacy.encryption or ENCRYPTED, KEYS[key])):
            parts = [self.root / file.path for file in state.recordings]
            return {row["conversation_id"]: row for batch in read_batches(parts) for row in batch.to_pylist()}

    def check_no_audio(self, rows: Sequence[Row]) -> None:
        """Looks in every file for pieces of the audio, from its start and from its middle."""
        contents = [self.media.content(str(row.fields["id"])) for row in rows]
        pieces = [content[at : at + 32] for content in contents for at in (0, 44, len(content) // 2)]
        # Silence is in many files, and each file of audio begins like others.
        canaries = [piece for piece in pieces if len(set(piece)) > 8]
        assert len(canaries) >= len(rows)
        for path in self.root.rglob("*"):
            held = path.read_bytes() if path.is_file() else b""
            assert not [piece for piece in canaries if piece in held], path

    async def check(self, rows: Sequence[Row], key: str = "d1") -> None:
        """Checks that all are kept with this key, each in a file of its own, and that nothing else lies there."""
        found = await self.rows(key)
        assert found.keys() == {row.fields["id"] for row in rows}
        assert media_files(self.root) == {self.root / row["path"] for row in found.values()}
        for identity, row in found.items():
            assert row["path"].endswith(f"/{row['sha256']}.wav.enc")
            assert (self.root / row["path"]).stat().st_size == row["bytes"]
            with (self.root / row["path"]).open("rb") as file:
                assert key_name_of(file) == key
            assert await self.audio(identity, key) == self.media.content(identity)
        self.check_no_audio(rows)


@asynccontextmanager
async def world(
    root: Path, rows: Sequence[Row], media: MediaBehaviour = LARGE, encryption: Encryption | None = ENCRYPTED
) -> AsyncIterator[World]:
    async with serve(rows, media=media) as sandbox:
        assert sandbox.media is not None
        yield World(sandbox, sandbox.media, root / "out", encryption)


async def test_recordings_are_encrypted_and_come_back_with_the_key(tmp_path: Path) -> None:
    rows = [call(number) for number in range(8)]
    async with world(tmp_path, rows) as source:
        await source.export()
        done = await source.keep()
        assert (done.exit_status, done.stored, done.files) == (0, 8, 8)
        assert done.bytes == sum(path.stat().st_size for path in media_files(source.root))
        await source.check(rows)
        found = await source.verify()
        assert (found.problems, found.exit_status, found.media_read) == ((), 0, 8)
        with pytest.raises(ProtectionError, match="the key d1 is needed, and is not here"):
            await source.audio("c1", None)
        with pytest.raises(ProtectionError, match="not the key d1"):
            await source.audio("c1", "d2")


async def test_those_that_pass_by_are_encrypted_also(tmp_path: Path) -> None:
    rows = [call(number) for number in range(8)]
    async with world(tmp_path, rows) as source:
        await source.export(recordings=True)
        await source.check(rows)
        source.sandbox.update("c1", rows[0].updated_at + 1, summary="another")
        await sync(source.root, Selection(), source.context("d1"))
        await source.check(rows)


async def test_the_same_audio_twice_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [call(number) for number in range(3)]
    async with world(tmp_path, rows) as source:
        content = source.media.content
        monkeypatch.setattr(source.media, "content", lambda _: content("c0"))
        await source.export()
        await source.keep()
        stored = [path.read_bytes() for path in media_files(source.root)]
        assert len(stored) == 3
        assert len({held[:60] for held in stored}) == len({held[60:160] for held in stored}) == 3


async def test_audio_stays_plain_where_that_is_said(tmp_path: Path) -> None:
    async with world(tmp_path, [call(1)], encryption=PLAIN) as source:
        await source.export()
        await source.keep()
        (file,) = media_files(source.root)
        assert (file.suffix, file.read_bytes()) == (".wav", source.media.content("c1"))
        assert await source.audio("c1") == source.media.content("c1")
        await source.rekey("d2")
        assert media_files(source.root) == {file}
        assert await source.audio("c1", "d2") == source.media.content("c1")


async def test_without_the_key_nothing_is_fetched(tmp_path: Path) -> None:
    async with world(tmp_path, [call(1)]) as source:
        await source.export()
        for wrong in (None, "d2"):
            with pytest.raises(ProtectionError):
                await source.keep(wrong)
        assert source.media.count == 0
        assert not (source.root / "media").exists()


async def test_without_the_package_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, [call(1)]) as source:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
            with pytest.raises(UsageError, match=r"install.*cryptography"):
                await source.export(recordings=True)
            assert not source.root.exists()
        await source.export()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
            with pytest.raises(UsageError, match=r"install.*cryptography"):
                await source.keep()
        assert source.media.count == 0
        assert not (source.root / "media").exists()
        assert (await source.keep()).stored == 1


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async with world(tmp_path, [call(1), call(2)], encryption=None) as source:
        source.media.pinned["c2"] = "json"
        await source.export()
        with pytest.raises(UsageError, match=r"no recording of c1 here\. exporter recordings .* fetches those"):
            await source.audio("c1", None)
        await source.keep()
        assert await source.audio("c1", None) == source.media.content("c1")
        with pytest.raises(UsageError, match=r"no audio of c2: refused \(type application/json\)"):
            await source.audio("c2", None)


async def test_damage_is_found_before_anything_is_heard_and_audio_set_aside_goes_in_the_end(tmp_path: Path) -> None:
    rows = [call(number) for number in range(3)]
    async with world(tmp_path, rows) as source:
        await source.export()
        await source.keep()
        path = (await source.rows())["c1"]["path"]
        flip(source.root, path)
        heard: list[bytes] = []
        with pytest.raises(DamagedPartError):
            await give_audio(source.root, "c1", keys(), lambda chunk: heard.append(bytes(chunk)))
        assert heard == []
        found = await source.verify(repair=True)
        assert found.dropped_recordings == 1

        async def sweep() -> Any:
            return await vacuum(source.root, before=END_OF_TIME, now=NOW, keys=keys())

        assert len((await sweep()).dropped_needed) == 1
        assert (await source.keep()).new_stored == 1
        await sweep()
        assert not [one for one in (source.root / "_exporter/dropped").rglob("*") if one.is_file()]
        await source.check(rows)


async def test_another_key_takes_over(tmp_path: Path) -> None:
    rows = [call(number) for number in range(6)]
    async with world(tmp_path, rows) as source:
        await source.export()
        await source.keep()
        assert (await source.rekey("d2")).exit_status == 0
        await source.check(rows, "d2")
        assert (await source.verify("d2")).sound
        with pytest.raises(ProtectionError):
            await source.audio("c1", "d1")
        count = source.media.count
        assert (await source.keep("d2")).new_stored == 0
        assert source.media.count == count


async def test_audio_that_was_kept_plain_is_encrypted_with_a_first_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [call(number) for number in range(6)]
    async with world(tmp_path, rows, encryption=None) as source:
        await source.export()
        await source.keep()
        before = await load_state(LocalStore(source.root))
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
            with pytest.raises(UsageError, match=r"install.*cryptography"):
                await source.rekey("d1", None)
        assert await load_state(LocalStore(source.root)) == before
        await source.rekey("d1", None)
        await source.check(rows)


async def test_a_change_of_keys_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [call(number, age=(2 + number) * DAY) for number in range(6)]
    async with world(tmp_path, rows) as source:
        await source.export()
        await source.keep()
        resealed = recording_reseal._resealed
        left = 3

        async def fail(*given: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoreError("the disk is full")
            return await resealed(*given)

        with monkeypatch.context() as patch:
            patch.setattr(recording_reseal, "_resealed", fail)
            with pytest.raises(StoreError, match="full"):
                await source.rekey("d2")
        source.check_no_audio(rows)
        with pytest.raises(ProtectionError, match="finishes that"):
            await source.audio("c1", "d2")
        await source.rekey("d2")
        await source.check(rows, "d2")


def test_a_first_key_is_taken_whenever_that_is_killed(tmp_path: Path) -> None:
    since = UNTIL - 2 * DAY
    root = make_export(tmp_path / "small", make_conversations(12, since, UNTIL, transcripts=False), since)
    names = [*conversations(root)][:6]
    record(root, dict.fromkeys(names, "") | {names[4]: "the same", names[5]: "the same"})
    kept = {name: audio("the same" if name in names[4:] else name) for name in names}
    roots = killed("rekey", root, tmp_path / "killed", size_of(37, 1))
    assert len(roots) > 5
    for number, each in enumerate(roots):
        for path in (path for path in (each / "_exporter/staging").rglob("*") if path.is_file()):
            assert not any(content in path.read_bytes() for content in kept.values())
        anyio.run(encrypt, each)
        assert all(path.suffix == ".enc" for path in media_files(each))
        if number % 5 and each != roots[-1]:
            continue
        source = World(None, None, each, ENCRYPTED)  # type: ignore[arg-type]
        rows = anyio.run(source.rows)
        assert {each / row["path"] for row in rows.values()} == media_files(each)
        assert {name: anyio.run(source.audio, name) for name in names} == kept
