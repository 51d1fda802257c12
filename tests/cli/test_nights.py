import json
import shlex
from pathlib import Path
from typing import Any

import anyio
import pytest

from exporter.cli import main
from exporter.contract import DAY, parse_timestamp
from exporter.jobs.export import export
from exporter.model import TABLES
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.export_directory import ExportDirectory
from tests.toolkit.dated import undated


def demo(*options: str) -> int:
    return main(["demo", *options])


def figures(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_each_night_a_sync_and_an_audit_bring_what_the_server_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = demo(str(tmp_path / "demo"), "--rows", "200", "--days", "10", "--nights", "3", "--json")
    shown = figures(capsys)
    assert (status, len(shown["nights"])) == (0, 3)
    rows = 200
    for night in shown["nights"]:
        server, sync, audit = night["server"], night["sync"], night["audit"]
        assert (sync["inserted"], sync["updated"]) == (server["created"], server["changed"])
        assert audit == {"deleted": server["deleted"], "removed": server["deleted"], "same": True}
        assert all(server.values())
        rows += server["created"] - server["deleted"]
    exported = ExportDirectory(tmp_path / "demo")
    exported.check_sound()
    assert len(exported.records()) == shown["rows"] == rows
    assert shown["new_rows"] == rows


def test_some_recordings_are_kept_and_the_last_words_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, sizes = tmp_path / "a demo", ("--rows", "60", "--days", "5")
    commits = place / "_exporter/commits"
    for nights in ([], ["--nights", "1"], []):
        assert demo(str(place), *sizes, *nights) == 0
        said = capsys.readouterr().out
        kept = list((place / "media").glob("*/*.wav"))
        assert f"  audio     {len(kept)} of {len(kept)} recordings kept" in said
        assert 1 <= len(kept) <= 20
        named, _, following = said.splitlines()[-3:]
        (file,) = shlex.split(named)
        assert Path(file) in kept
        assert shlex.split(following) == ["exporter", "demo", str(place), *sizes, "--nights", "3"]
        left = sorted(commits.iterdir())
    assert demo(str(place), *sizes) == 0
    assert "nothing to do: all of it was there" in capsys.readouterr().out
    assert sorted(commits.iterdir()) == left
    ExportDirectory(place).check_sound()


def test_a_demo_that_began_without_recordings_goes_on_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anyio.run(older_demo, tmp_path / "demo")
    assert demo(str(tmp_path / "demo"), "--rows", "60", "--days", "5", "--nights", "1") == 0
    said = capsys.readouterr().out
    assert "audio" not in said and "To hear" not in said
    assert not (tmp_path / "demo/media").exists()


async def older_demo(root: Path) -> None:
    until = parse_timestamp("2026-02-01")
    since = until - 5 * DAY
    async with serve(make_conversations(60, since, until)) as sandbox:
        context = RunContext(RunSettings(base_url=sandbox.url), Credentials(sandbox.token), Quiet())
        await export(root, Selection(since=since, until=until, tables=TABLES), context)


def test_what_is_reported_is_what_is_there_after_the_nights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = (str(tmp_path / "demo"), "--rows", "60", "--days", "5")
    assert demo(*sizes, "--nights", "2", "-q") == 0
    rows = len(ExportDirectory(tmp_path / "demo").records())
    assert capsys.readouterr().out.startswith(f"✔ complete  {rows} conversations with ")
    assert demo(*sizes, "--nights", "1", "--json") == 0
    shown, after = figures(capsys), len(ExportDirectory(tmp_path / "demo").records())
    assert (shown["rows"], shown["new_rows"]) == (after, max(0, after - rows))


def test_sizes_that_mean_nothing_to_an_older_demo_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "demo")
    assert demo(place, "--rows", "60", "--days", "5") == demo(place, "--rows", "60", "--days", "5") == 0
    assert "is for a new demo" not in capsys.readouterr().err
    assert demo(place, "--rows", "500", "--days", "5", "-q") == 0
    assert f"{place}: it has 60 conversations, and --rows 500 is for a new demo. To make" in capsys.readouterr().err
    assert demo(place, "--rows", "60", "--days", "2", "-q") == 0
    assert f"{place}: it begins on 2026-01-27, and a smaller --days is for a new demo" in capsys.readouterr().err


def test_the_same_nights_go_by_whether_at_once_or_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--rows", "60", "--days", "5", "--json")
    assert demo(str(tmp_path / "once"), *sizes, "--nights", "2") == 0
    (first, second) = figures(capsys)["nights"]
    assert demo(str(tmp_path / "twice"), *sizes, "--nights", "1") == 0
    assert figures(capsys)["nights"] == [first]
    assert demo(str(tmp_path / "twice"), *sizes, "--nights", "1") == 0
    assert figures(capsys)["nights"] == [second]


def test_nights_can_follow_a_demo_without_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("--rows", "60", "--days", "5")
    assert demo(str(tmp_path / "demo"), *sizes) == demo(str(tmp_path / "demo"), *sizes, "--nights", "1") == 0
    said = capsys.readouterr().out
    assert "warning" not in said
    assert "night 1, 2026-02-02\n  the server  " in said
    assert "  audit       the same: " in said


def test_a_file_is_no_place_for_a_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tok").touch()
    assert demo(str(tmp_path / "tok")) == 2
    assert (
        undated(capsys.readouterr().err) == f"exporter: {tmp_path / 'tok'}: a file, not a directory. Give a directory\n"
    )


async def export_of_another_organization(root: Path) -> None:
    start = parse_timestamp("2026-01-01")
    rows = [
        Row(row.created_at, row.updated_at, row.content() | {"organization_id": "org_real"})
        for row in make_conversations(5, start, start + DAY)
    ]
    async with serve(rows) as server:
        context = RunContext(RunSettings(base_url=server.url), Credentials(server.token), Quiet())
        await export(root, Selection(until=start + DAY), context)


def test_a_demo_leaves_an_export_of_an_organization_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anyio.run(export_of_another_organization, tmp_path / "real")
    before = sorted((tmp_path / "real").rglob("*"))
    assert demo(str(tmp_path / "real"), "--nights", "1") == 2
    assert "an export of org_real, not of a demo" in capsys.readouterr().err
    assert sorted((tmp_path / "real").rglob("*")) == before
