"""A recording is given by Range as it was stored, decrypted if it is encrypted; or an answer says why it is not."""

import asyncio
import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import anyio
import pytest

from exporter.contract import MINUTE
from exporter.errors import ProtectionError
from exporter.keys import DATA_VARIABLE, KEY_BYTES, Key, Keys
from exporter.privacy import Encryption, KeyReference
from exporter.sandbox import MediaBehaviour
from exporter.store.location import parse_location
from exporter.viewer import recording
from exporter.viewer.no_answer import NoAnswerError
from exporter.viewer.recording import Recording, check_kept
from tests.toolkit.clouds import S3
from tests.toolkit.recordings import outcomes
from tests.viewer.viewed import AUDIO_BYTES, SECRET, TABLES, UNTIL, Viewer, conversation, make, viewing

pytestmark = pytest.mark.anyio

KEY = Key("d1", bytes([1]) * KEY_BYTES)
TEXTS = {DATA_VARIABLE: base64.b64encode(KEY.secret).decode()}
MEDIA = MediaBehaviour(bytes_each=AUDIO_BYTES, retry_after_seconds=0)
ROWS = [conversation(f"c{n}", UNTIL - (n + 1) * MINUTE, "Hello.") for n in range(3)]
ENCRYPTED = Encryption(key=KeyReference(name="d1", env=DATA_VARIABLE))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("heard")

    async def make_all() -> None:
        await make(place / "plain", ROWS, media=MEDIA, tables=TABLES)
        await make(place / "encrypted", ROWS, media=MEDIA, tables=TABLES, encryption=ENCRYPTED, keys=Keys(TEXTS))

    anyio.run(make_all)
    return {name: place / name for name in ("plain", "encrypted")}


@pytest.fixture(params=["plain", "encrypted"])
def root(request: pytest.FixtureRequest, roots: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(roots[request.param], tmp_path / request.param))


@pytest.fixture
def plain(roots: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(roots["plain"], tmp_path / "calls"))


async def whole(viewer: Viewer, identity: str = "c1") -> bytes:
    answer = await viewer.get("recording", id=identity)
    assert answer.status == 200, answer.body
    return answer.body


async def test_any_part_of_the_audio_is_what_was_stored(root: Path, roots: dict[str, Path]) -> None:
    stored = (roots["plain"] / outcomes(roots["plain"])["c1"]["path"]).read_bytes()
    async with viewing(root, TEXTS) as viewer:
        assert await whole(viewer) == stored
        chunk = 65_536
        for start, stop in (
            (0, 1),
            (0, chunk),
            (chunk - 1, chunk + 1),
            (chunk, 2 * chunk),
            (149_999, 150_000),
            (1, 149_999),
        ):
            part = await viewer.get("recording", id="c1", headers={"Range": f"bytes={start}-{stop - 1}"})
            assert (part.status, part.body) == (206, stored[start:stop])
            assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{AUDIO_BYTES}"
        assert (await viewer.get("recording", id="c1", headers={"Range": "bytes=-7"})).body == stored[-7:]
        head = await viewer.get("recording", "HEAD", id="c1")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(AUDIO_BYTES))
        assert (head.headers["Accept-Ranges"], head.headers["Content-Type"]) == ("bytes", "audio/wav")


async def test_a_range_that_is_not_there_is_refused_and_one_of_another_file_gives_all(root: Path) -> None:
    async with viewing(root, TEXTS) as viewer:
        beyond = await viewer.get("recording", id="c1", headers={"Range": f"bytes={AUDIO_BYTES}-"})
        assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{AUDIO_BYTES}")
        tag = (await viewer.get("recording", "HEAD", id="c1")).headers["ETag"]
        other = await viewer.get("recording", id="c1", headers={"Range": "bytes=0-0", "If-Range": '"other"'})
        same = await viewer.get("recording", id="c1", headers={"Range": "bytes=0-0", "If-Range": tag})
        assert (other.status, len(other.body), same.status) == (200, AUDIO_BYTES, 206)


async def test_the_conversation_says_what_its_recording_is(root: Path) -> None:
    async with viewing(root, TEXTS) as viewer:
        assert (await viewer.get("conversation", id="c1")).json["recording"] == {
            "type": "audio/wav",
            "bytes": AUDIO_BYTES,
            "duration_seconds": 60.0,
            "is_playable": True,
            "note": None,
        }
        assert [row["has_recording"] for row in (await viewer.get("conversations")).json["rows"]] == [True, True, True]
        assert await viewer.found(recording="kept") == ["c0", "c1", "c2"]
        assert (await viewer.get("about")).json["encrypted"] == (root.name == "encrypted")


async def test_a_recording_that_was_lost_cut_or_changed_says_so(root: Path) -> None:
    async with viewing(root, TEXTS) as viewer:
        rows = await viewer.export.ask("SELECT conversation_id AS id, path FROM recordings")
        paths = {row["id"]: root / row["path"] for row in rows}
        paths["c0"].unlink()
        with paths["c1"].open("r+b") as file:
            file.truncate(paths["c1"].stat().st_size - 10)
        with paths["c2"].open("r+b") as file:
            file.seek(100_000)
            file.write(b"\x55\xaa" * 9)
        lost = await viewer.get("recording", id="c0")
        assert (lost.status, "is missing" in lost.json["error"]) == (404, True)
        cut = await viewer.get("recording", id="c1")
        assert (cut.status, "were written" in cut.json["error"]) == (500, True)
        for identity in ("c0", "c1"):
            shown = (await viewer.get("conversation", id=identity)).json["recording"]
            assert (shown["status"], "exporter verify" in shown["missing"]) == ("stored", True)
        if root.name == "plain":
            changed = await viewer.get("recording", id="c2")
            assert (changed.status, "are not those that were written" in changed.json["error"]) == (500, True)
        else:
            # What is authentic before the damage is played; then the answer ends early.
            assert len((await viewer.get("recording", id="c2", headers={"Range": "bytes=0-9"})).body) == 10
            with pytest.raises(aiohttp.ClientError):
                await viewer.get("recording", id="c2")


async def test_without_the_key_nothing_opens(roots: dict[str, Path]) -> None:
    other = base64.b64encode(bytes(KEY_BYTES)).decode()
    for texts in ({}, {DATA_VARIABLE: other}):
        with pytest.raises(ProtectionError, match=f"the key d1, and it is not here. Set {DATA_VARIABLE}"):
            async with viewing(roots["encrypted"], texts):
                raise AssertionError("it opened")


async def test_a_recording_that_was_never_kept_says_why(tmp_path: Path) -> None:
    media = MediaBehaviour(bytes_each=2_000, retry_after_seconds=0, faults={"gone": 1.0})
    await make(tmp_path / "gone", ROWS[:1], media=media)
    async with viewing(tmp_path / "gone") as viewer:
        shown = (await viewer.get("conversation", id="c0")).json["recording"]
        assert shown == {"missing": "the source no longer has it (status 410)", "status": "gone"}
        answer = await viewer.get("recording", id="c0")
        assert (answer.status, answer.json["error"]) == (
            404,
            "the recording is not kept: the source no longer has it (status 410)",
        )
        assert [row["has_recording"] for row in (await viewer.get("conversations")).json["rows"]] == [False]
        assert await viewer.found(recording="kept") == []


async def test_a_recording_of_an_unknown_type_is_given_as_bytes(tmp_path: Path) -> None:
    media = MediaBehaviour(bytes_each=2_000, faults={"unknown-type": 1.0})
    await make(tmp_path / "odd", ROWS[:1], media=media)
    async with viewing(tmp_path / "odd") as viewer:
        assert len(await whole(viewer, "c0")) == 2_000
        shown = (await viewer.get("conversation", id="c0")).json["recording"]
        assert (shown["type"], shown["is_playable"], "no known type" in shown["note"]) == (
            "application/octet-stream",
            False,
            True,
        )


async def test_audio_is_compared_once_and_read_a_chunk_at_a_time(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[range] = []
    real = recording.Audio.read

    def noting(self: recording.Audio, part: range) -> Iterator[bytes]:
        read.append(part)
        for chunk in real(self, part):
            assert len(chunk) <= 1000
            yield chunk

    monkeypatch.setattr(recording, "_CHUNK_BYTES", 1000)
    monkeypatch.setattr(recording.Audio, "read", noting)
    async with viewing(plain) as viewer:
        for _ in range(2):
            await viewer.get("recording", id="c1", headers={"Range": "bytes=5-2009"})
    assert read == [range(AUDIO_BYTES), range(5, 2010), range(5, 2010)]


async def test_a_listener_who_leaves_lets_go_of_the_file(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    close = recording.Audio.close

    def noting(self: recording.Audio) -> None:
        close(self)
        loop.call_soon_threadsafe(closed.set)

    monkeypatch.setattr(recording.Audio, "close", noting)
    monkeypatch.setattr(recording.Audio, "read", lambda self, part: iter(lambda: bytes(100_000), b""))
    monkeypatch.setattr(recording, "_COMPARED_BYTES", 0)
    async with viewing(plain) as viewer:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(viewer.origin.rpartition(":")[2]))
        host = viewer.origin.removeprefix("http://")
        writer.write(f"GET /{SECRET}/recording?id=c1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        await closed.wait()


async def test_a_bucket_is_read_as_a_disk_is(s3: S3, roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("viewed")
    place = parse_location("s3://viewed/calls")
    await make(place, ROWS[:1], media=MEDIA, encryption=ENCRYPTED, keys=Keys(TEXTS))
    async with viewing(place, TEXTS) as viewer:
        audio = await whole(viewer, "c0")
        part = await viewer.get("recording", id="c0", headers={"Range": "bytes=65000-140000"})
        assert (part.status, len(audio), part.body) == (206, AUDIO_BYTES, audio[65_000:140_001])
        assert audio.startswith(b"RIFF")
        assert await viewer.found(text="hello") == ["c0"]
        assert (await viewer.get("turns", id="c0")).json["total"] == 1


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("../secret.wav", 5),
        ("/secret.wav", 5),
        ("media/../secret.wav", 5),
        (f"media/{'0' * 64}.wav\n", 5),
        (None, 5),
        (f"media/{'0' * 64}.wav", None),
    ],
)
def test_a_row_that_no_exporter_has_written_opens_nothing(path: str | None, size: int | None) -> None:
    row = Recording("stored", None, path, size, None, None)
    with pytest.raises(NoAnswerError, match="is not kept"):
        check_kept(row)
    assert check_kept(row._replace(path=f"media/{'0' * 64}.wav", bytes=5))
