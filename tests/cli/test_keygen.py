"""`exporter keygen`: a key that the exporter takes, in a file that only its owner can read."""

import os
import stat
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.keys import Keys, parse_key
from exporter.privacy import KeyReference
from tests.toolkit.dated import undated


def test_a_key_goes_to_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    keys = set()
    for _ in range(2):
        assert main(["keygen"]) == 0
        shown = capsys.readouterr()
        keys.add(parse_key(shown.out, "stdout"))
        assert shown.out.strip() not in shown.err
        assert "one is lost" in shown.err
    assert len(keys) == 2


def test_a_key_goes_to_a_new_file_that_only_its_owner_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, before = tmp_path / "privacy.key", os.umask(0)
    try:
        assert main(["keygen", str(path)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() not in capsys.readouterr().out
    assert Keys().privacy(KeyReference(name="k1", file=str(path))).secret == parse_key(path.read_text(), "file")


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "privacy.key"
    path.write_text("the old one")
    assert main(["keygen", str(path)]) == 2
    assert path.read_text() == "the old one"
    assert undated(capsys.readouterr().err) == (
        f"exporter: {path}: is there already, and a key is never overwritten. Name a new file\n"
    )


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", str(tmp_path / "none" / "key")]) == 1
    assert "No such file or directory" in capsys.readouterr().err
