"""Quarantine files give back the lines that they were made of, and sealed ones do so with their key alone."""

import tempfile
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.coverage import Interval
from exporter.encode.rows import Misfit
from exporter.errors import DamagedPartError, UnreadablePartError
from exporter.keys import KEY_BYTES, Key
from exporter.layout import dropped_path
from exporter.log.quarantine import line_of, read_line
from exporter.model import QuarantineFile
from exporter.parts.cipher import Cipher, using
from exporter.pipeline.quarantine_files import lines_in, put_lines_aside, read_lines, write_lines, write_quarantine
from exporter.privacy import Encryption, KeyReference
from exporter.store.local.store import LocalStore
from tests.jobs.damage import flip

D1, D2 = (Key(name, name.encode() * (KEY_BYTES // 2)) for name in ("d1", "d2"))
CIPHERS = {key.name: Cipher(Encryption(key=KeyReference(name=key.name)), key) for key in (D1, D2)}
WINDOW = Interval(1, 3)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


async def prepared(root: Path) -> LocalStore:
    store = LocalStore(root)
    await store.prepare()
    return store


async def put_aside(root: Path, was: str, lines: list[bytes]) -> None:
    await put_lines_aside(await prepared(root), "run", was, lines)


def written(root: Path, texts: list[str], key: str | None = "d1") -> QuarantineFile:
    rows = [Misfit(f"c{number}", number, "duration 1.5", text.encode()) for number, text in enumerate(texts, 1)]

    async def write() -> QuarantineFile:
        return await write_quarantine(await prepared(root), "a", rows)

    with using(None if key is None else CIPHERS[key]):
        return anyio.run(write)


def lines_of(root: Path, file: QuarantineFile, cipher: Cipher | None) -> list[bytes]:
    with using(cipher):
        return anyio.run(read_lines, LocalStore(root), file)


@settings(deadline=None, max_examples=20)
@given(st.lists(TEXTS, min_size=1, max_size=9), st.sampled_from([None, "d1"]))
def test_lines_are_read_as_they_were_written(texts: list[str], key: str | None) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        file = written(root, texts, key)
        assert (file.rows, file.window, file.key) == (len(texts), Interval(1, len(texts) + 1), key or "")
        assert file.path == f"_exporter/quarantine/a.jsonl{'' if key is None else '.enc'}"
        assert (root / file.path).stat().st_size == file.size_bytes
        # Whoever has the key reads plain files as well.
        lines = lines_of(root, file, CIPHERS["d1"])
        assert [read_line(line).row for line in lines] == texts
        assert [line_of(Misfit(f"c{n}", n, "duration 1.5", text.encode())) for n, text in enumerate(texts, 1)] == lines
        assert (b'"reason"' in (root / file.path).read_bytes()) == (key is None)


def test_a_sealed_file_is_read_with_its_key_alone(tmp_path: Path) -> None:
    file = written(tmp_path, ["{}"])
    with pytest.raises(UnreadablePartError, match="is encrypted, and there is no key here"):
        lines_of(tmp_path, file, None)
    with pytest.raises(UnreadablePartError, match="encrypted with the key d1; the one given is d2"):
        lines_of(tmp_path, file, CIPHERS["d2"])
    both = Cipher(Encryption(key=KeyReference(name="d2")), D2, D1)
    assert len(lines_of(tmp_path, file, both)) == 1


def test_a_sealed_file_that_was_changed_is_damaged(tmp_path: Path) -> None:
    file = written(tmp_path, ["{}"])
    flip(tmp_path, file.path)
    with pytest.raises(DamagedPartError, match="not those that were written"):
        lines_of(tmp_path, file, CIPHERS["d1"])
    with using(CIPHERS["d1"]), pytest.raises(DamagedPartError):
        lines_in(tmp_path / file.path, file.path, tmp_path)


@pytest.mark.parametrize("was", ["_exporter/quarantine/a.jsonl", "_exporter/quarantine/a.jsonl.enc"])
def test_lines_that_are_put_aside_are_sealed_whatever_they_were(was: str, tmp_path: Path) -> None:
    lines = [line_of(Misfit("c", 1, "duration 1.5", b"{}"))]
    with using(CIPHERS["d1"]):
        anyio.run(put_aside, tmp_path, was, lines)
        path = dropped_path("run", "_exporter/quarantine/a.jsonl.enc")
        assert b"reason" not in (tmp_path / path).read_bytes()
        assert lines_in(tmp_path / path, path, tmp_path) == lines


def test_a_plain_export_stays_plain(tmp_path: Path) -> None:
    lines = [line_of(Misfit("c", 1, "duration 1.5", b"{}"))]

    async def write() -> QuarantineFile:
        return await write_lines(await prepared(tmp_path), "b", lines, WINDOW, rest_of="a")

    file = anyio.run(write)
    assert (file.key, file.rest_of, (tmp_path / file.path).read_bytes()) == ("", "a", lines[0])
    anyio.run(put_aside, tmp_path, file.path, lines)
    assert (tmp_path / dropped_path("run", file.path)).read_bytes() == lines[0]
