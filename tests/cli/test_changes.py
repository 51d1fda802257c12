"""`exporter changes` writes one file, whole and private, or rows to stdout and its figures beside them."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporter.cli import main
from exporter.errors import UnreadableFileError
from exporter.jobs import change_feed
from exporter.sandbox import make_conversations
from tests.jobs.made import SINCE, UNTIL, make_export
from tests.toolkit.processes import started
from tests.toolkit.recorded import state_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_export(tmp_path_factory.mktemp("made") / "out", make_conversations(60, SINCE, UNTIL))


def test_files_and_stdout(made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    last = state_of(made).number
    counts = {"from": 0, "to": last, "inserts": 60, "updates": 0, "deletes": 0}
    command = ["changes", str(made), "--from-generation", "0"]
    ids = {}
    for name, options in (("a.parquet", []), ("a.jsonl", []), ("a.bin", ["--format", "arrow"])):
        path = tmp_path / name
        assert main([*command, "--output", str(path), "--json", *options]) == 0
        assert json.loads(capfd.readouterr().out) == counts
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        if name == "a.parquet":
            ids[name] = pq.read_table(path)["id"].to_pylist()
        elif name == "a.bin":
            ids[name] = pa.ipc.open_stream(path).read_all()["id"].to_pylist()
        else:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            ids[name] = [row["id"] for row in rows]
            assert [*rows[0]][:4] == ["_op", "_generation", "_committed_at", "id"]
            assert rows[0]["created_at"].endswith("Z") and rows[0]["created_date"] == rows[0]["created_at"][:10]
    assert ids["a.parquet"] == ids["a.jsonl"] == ids["a.bin"] and len({*ids["a.bin"]}) == 60

    assert main([*command, "--output", str(tmp_path / "b.parquet")]) == 0
    line = f"from generation 0 to {last}: 60 inserts, 0 updates, 0 deletes"
    assert capfd.readouterr().out == f"{line}, to {tmp_path}/b.parquet\n"
    for options, said in (([], line), (["--json"], json.dumps(counts))):
        assert main([*command, *options]) == 0
        shown = capfd.readouterr()
        assert shown.err == f"{said}\n"
        assert shown.out == (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert main(["changes", str(made), "--from-generation", str(last)]) == 0
    assert capfd.readouterr().out == ""


def test_what_fails_leaves_no_file(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dressed = change_feed.ChangeFeed._dressed
    given = 0

    def fail(*arguments: object) -> pa.RecordBatch:
        nonlocal given
        given += 1
        if given == 2:
            raise UnreadableFileError("a part", "its disk is gone")
        return dressed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(change_feed.ChangeFeed, "_dressed", fail)
    for name in ("a.parquet", "a.arrow", "a.jsonl"):
        given = 0
        assert main(["changes", str(made), "--from-generation", "0", "--output", str(tmp_path / name)]) == 1
        assert "its disk is gone" in capfd.readouterr().err
        assert [*tmp_path.iterdir()] == []
    given = 0
    assert main(["changes", str(made), "--from-generation", "0", "--json"]) == 1
    shown = capfd.readouterr()
    assert all("_op" in json.loads(line) for line in shown.out.splitlines())
    failed = json.loads(shown.err.splitlines()[-1])
    assert (failed["event"], failed["exit_status"]) == ("failed", 1)


@pytest.mark.parametrize("as_", ["jsonl", "arrow"])
def test_what_its_reader_does_not_take_is_no_success(as_: str, made: Path) -> None:
    command = [sys.executable, "-m", "exporter", "changes", str(made), "--from-generation", "0", "--json"]
    with started([*command, "--format", as_], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        said = process.stderr.read().splitlines()
    assert process.returncode == 1
    assert (failed := json.loads(said[-1]))["event"] == "failed"
    assert "its reader has left" in failed["reason"]
