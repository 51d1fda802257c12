"""Runs that encrypt recordings leave no audio on any disk, however they end; one command gives it back."""

import base64
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import anyio
import msgspec
import pytest

from exporter.jobs.export import export
from exporter.keys import DATA_VARIABLE, KEY_BYTES, Keys
from exporter.privacy import Encryption, KeyReference
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, MediaHost, Sandbox
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.location import Location, Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from tests.end_to_end.conftest import Command, Serving, Spawn
from tests.toolkit.clouds import S3
from tests.toolkit.recordings import SMALL, call
from tests.toolkit.sizes import size_of
from tests.toolkit.terminal import terminal

HOME = ("--allow-network", "127.0.0.0/8")
ROWS = [call(number) for number in range(12)]
CAT = (sys.executable, "-m", "exporter", "recordings", "cat")
KEY = base64.b64encode(bytes(range(KEY_BYTES))).decode()


@pytest.fixture
def server(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv(DATA_VARIABLE, KEY)
    return serving(ROWS, media=msgspec.structs.replace(SMALL, bytes_each=1_000_000))


def make(server: Sandbox, destination: Location) -> None:
    """Makes an export that is encrypted, without its recordings."""
    settings, keys = RunSettings(base_url=server.url, lag_seconds=0), Keys({DATA_VARIABLE: KEY})
    context = RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys)
    encryption = Encryption(key=KeyReference(name="d1", env=DATA_VARIABLE))
    anyio.run(export, destination, Selection(encryption=encryption), context)


def heard(destination: object, identity: str) -> bytes:
    done = subprocess.run([*CAT, str(destination), identity], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def pieces_of(media: MediaHost) -> list[bytes]:
    """Returns pieces that only one recording has, from its start to its end."""
    contents = [media.content(str(row.fields["id"])) for row in ROWS]
    found = [content[at : at + 48] for content in contents for at in range(44, len(content) - 48, len(content) // 8)]
    return [piece for piece in found if len(set(piece)) > 16]


def check_no_audio(files: dict[str, bytes], media: MediaHost) -> None:
    pieces = pieces_of(media)
    assert len(pieces) > 5 * len(ROWS)
    for path, held in files.items():
        assert not any(piece in held for piece in pieces), path


def files_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_runs_that_are_killed_leave_no_audio(server: Sandbox, command: Command, spawn: Spawn, tmp_path: Path) -> None:
    assert server.media is not None
    out, staged = tmp_path / "out", 0
    make(server, out)
    for _ in range(size_of(2, 3)):
        reached, last = Event(), server.media.count + 6
        server.media.on_request = lambda request: reached.set() if request.number >= last else None  # noqa: B023
        running = spawn(
            "recordings", out, *HOME, "--recording-rate", "2MB", "--recording-concurrency", "4", server=server
        )
        assert reached.wait(60)
        running.process.kill()
        assert running.wait().status == -signal.SIGKILL
        files = files_in(out)
        staged += sum(len(held) for path, held in files.items() if "-media-" in path)
        check_no_audio(files, server.media)
    assert staged > 0, "some were cut off in the middle"
    assert command("recordings", out, *HOME, server=server).status == 0
    assert command("verify", out, "--media").status == 0
    check_no_audio(files := files_in(out), server.media)
    assert len([path for path in files if path.startswith("media/")]) == len(ROWS)
    assert heard(out, "c7") == server.media.content("c7")


def test_an_object_store_is_sent_no_audio(
    server: Sandbox, command: Command, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.media is not None
    name = f"encrypted-{secrets.token_hex(4)}"
    s3.make_bucket(name)
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    url = Url(s3.scheme, name, "calls")
    make(server, url)
    done = command("recordings", str(url), *HOME, server=server)
    assert done.status == 0, done.err
    bucket = Bucket(url, open_bucket(url))
    files = {path: held.data for path in bucket.sizes("") if (held := bucket.get(path)) is not None}
    assert len([path for path in files if path.endswith(".wav.enc")]) == len(ROWS)
    check_no_audio(files, server.media)
    assert heard(url, "c3") == server.media.content("c3")


def test_what_the_command_refuses(server: Sandbox, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(server, out)
    assert command("recordings", out, *HOME, server=server).status == 0
    unknown = command("recordings", "cat", out, "c99")
    assert (unknown.status, unknown.out) == (2, "")
    assert "no recording of c99 here" in unknown.err
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(DATA_VARIABLE)
        locked = command("recordings", "cat", out, "c1")
        assert (locked.status, locked.out) == (2, "")
        assert f"Set {DATA_VARIABLE}, or give --data-key-file" in locked.err
        file = tmp_path / "key"
        file.write_text(KEY)
        file.chmod(0o600)
        done = subprocess.run([*CAT, out, "c1", "--data-key-file", file], capture_output=True, check=True)
        assert server.media is not None
        assert done.stdout == server.media.content("c1")
    with terminal("recordings", "cat", str(out), "c1", variables={**os.environ}) as seen:
        assert seen.wait() == 2
        assert "send it to a file" in " ".join(" ".join(seen.lines).split())


def test_a_directory_may_be_called_cat(
    server: Sandbox, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(server, Path("cat"))
    assert command("recordings", "./cat", *HOME, server=server).status == 0
    assert len(list(Path("cat/media").rglob("*.enc"))) == len(ROWS)
