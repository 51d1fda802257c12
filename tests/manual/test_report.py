"""The commands of the page on reports do what it says, its JSON has what it names, and its picture is small."""

import json
import shlex
import shutil
import struct
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.report.model import DayState
from tests.report.pictures import PICTURE
from tests.toolkit.manual import PAGES, in_code

PAGE = PAGES["report"]


def test_the_page_on_reports(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exporter.report.blocks.draw", lambda *_: "")
    whole, _, bucket = PAGE.command_holding("exporter report calls\n").strip().splitlines()
    to_stdout = bucket.replace("s3://lake/calls", "calls").partition(" > ")[0]
    for line in (whole, to_stdout):
        assert main(shlex.split(line)[1:]) == 0, line
    assert "times in Europe/Berlin" in capfd.readouterr().out
    assert main(["report", "calls", "--json"]) == 0
    figures = json.loads(capfd.readouterr().out)
    named = {name for name in in_code(PAGE.section("JSON")) if name.isidentifier()}
    states = {*DayState.__args__}  # type: ignore[attr-defined]
    assert states <= named
    day, version = figures["days"][-1], figures["versions"][0]
    known = {*figures, *figures["trust"], *day, *version, *figures["turns"], "reason", "report"}
    assert named - states <= known


def test_its_picture_is_small() -> None:
    assert f"](pictures/{PICTURE.name})" in PAGE.text
    picture = PICTURE.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (1000, 560)
    assert len(picture) <= 60_000
