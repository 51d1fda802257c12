"""`exporter sql` answers once or in a session; a table fits its terminal, and nothing in it controls that."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli import main
from exporter.cli.canvas import cells
from exporter.cli.sql_table import draw_table, shown_text
from exporter.errors import InterruptedExportError
from exporter.sandbox import make_conversations
from tests.jobs.made import SINCE, UNTIL, make_export
from tests.jobs.sealed import keys, made
from tests.toolkit.processes import started
from tests.toolkit.terminal import Terminal, terminal

#: Takes minutes, unless it is interrupted.
LONG = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range * b.range % 7 = 3"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_export(
        tmp_path_factory.mktemp("sql") / "calls",
        make_conversations(60, SINCE, UNTIL),
        tables=("conversations", "turns"),
        partition_by="none",
    )


def ask(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["sql", *arguments])
    shown = capfd.readouterr()
    return status, shown.out, shown.err


def test_one_query(calls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "SELECT count(*) AS rows, NULL AS nothing, 'a\x1b[2Jb' AS said FROM conversations"
    assert ask(capfd, str(calls), text) == (0, '"rows","nothing","said"\n60,,"a\x1b[2Jb"\n', "")
    assert json.loads(ask(capfd, str(calls), text, "--format", "json")[1])[0]["rows"] == 60
    assert ask(capfd, str(calls), text, "--format", "table")[1].splitlines() == [
        "rows  nothing  said",
        "────  ───────  ───────────",
        "  60  NULL     a\\u001b[2Jb",
        "(1 row)",
    ]


def test_a_query_from_stdin(calls: Path) -> None:
    command = [sys.executable, "-m", "exporter", "sql", str(calls), "--format", "json"]
    text = "-- how many\nSELECT count(*) AS rows\nFROM conversations;\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [{"rows": 60}]


def test_to_a_new_file(calls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("a.parquet", 60), ("a.csv", 61), ("a.json", 62)):
        path = tmp_path / name
        status, out, _ = ask(capfd, str(calls), "SELECT id FROM conversations ORDER BY id", "-o", str(path))
        assert (status, out) == (0, f"60 rows written, to {path}\n")
        assert path.stat().st_mode & 0o777 == 0o600
        read = pq.read_table(path).num_rows if name == "a.parquet" else len(path.read_text().splitlines())
        assert read == rows
    status, _, err = ask(capfd, str(calls), "SELECT 1", "-o", str(tmp_path / "a.csv"))
    assert (status, "is there already" in err) == (2, True)
    # A query that fails on the way leaves nothing.
    failing = "SELECT CASE WHEN item_index > 3 THEN error('too far') END FROM turns"
    status, _, err = ask(capfd, str(calls), failing, "-o", str(tmp_path / "b.csv"))
    assert (status, "too far" in err) == (2, True)
    assert {each.name for each in tmp_path.iterdir()} == {"a.parquet", "a.csv", "a.json"}


def test_what_is_wrong_in_a_query_is_shown(calls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = ask(capfd, str(calls), "SELECT idd FROM conversations")
    assert (status, out) == (2, "")
    assert 'Referenced column "idd" not found' in err
    assert "Traceback" not in err
    status, out, err = ask(capfd, str(calls), "FROM recordings")
    assert err.endswith("exporter: no table recordings here; the tables are conversations, turns\n")


def test_an_export_that_is_not_complete_says_so(calls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generation = json.loads((calls / "_manifest.json").read_text())["generation"]
    status, out, err = ask(capfd, str(calls), "SELECT 1 AS one", "--generation", "1")
    assert (status, out) == (0, '"one"\n1\n')
    assert err == "the export is incomplete at generation 1: see exporter status\n"
    assert ask(capfd, str(calls), "SELECT 1 AS one", "--generation", str(generation))[2] == ""


def test_an_encrypted_export_asks_for_its_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path / "sealed")
    status, _, err = ask(capfd, str(root), "FROM conversations")
    assert (status, "Set EXPORTER_DATA_KEY, or give --data-key-file\n" in err) == (2, True)
    (file := tmp_path / "key").write_text(keys().environment["EXPORTER_DATA_KEY"])
    file.chmod(0o600)
    status, out, _ = ask(capfd, str(root), "SELECT count(*) AS n FROM conversations", "--data-key-file", str(file))
    assert (status, out) == (0, '"n"\n40\n')


def test_a_name_of_the_config_file(
    calls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exporter.toml").write_text(f'[exports.nightly]\ndestination = "{calls}"\n')
    assert ask(capfd, "nightly", "SELECT 1 AS one")[:2] == (0, '"one"\n1\n')


def test_ctrl_c_ends_a_query(calls: Path) -> None:
    with started(
        [sys.executable, "-m", "exporter", "sql", str(calls), "SELECT i FROM range(1000000000000) t(i)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # The header comes once the query runs; its rows never end.
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1].decode()
    assert process.returncode == InterruptedExportError.exit_status
    assert "stopped; what was written is not whole" in said


def test_ctrl_c_leaves_no_file(calls: Path, tmp_path: Path) -> None:
    text = "SELECT i, 'x' || i AS text FROM range(1000000000) t(i)"
    with started(
        [sys.executable, "-m", "exporter", "sql", str(calls), text, "-o", str(tmp_path / "x.csv")],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while not any(each.stat().st_size for each in tmp_path.iterdir()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == InterruptedExportError.exit_status
    assert said.endswith("exporter: stopped; no file is left\n")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves(calls: Path) -> None:
    text = "SELECT i FROM range(10000000) t(i)"
    script = f'{sys.executable} -m exporter sql {calls} "{text}" | head -2; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['"i"', "0", "1"]
    assert "its reader has left" in done.stderr


def test_a_session(calls: Path) -> None:
    with terminal("sql", str(calls), variables={}, columns=60, rows=100) as shown:
        see(shown, "sql> ")
        for text, seen in (
            (b".tables\r", "turns"),
            (b".schema turns\r", "e2e_latency"),
            (b"SELECT count(*) AS rows\rFROM conversations;\r", "(1 row)"),
            (b"SELEC;\r", "syntax error"),
            (b"FROM tur\t LIMIT 41;\r", "40 of 41 rows"),
            (b".shema\r", "Did you mean .schema?"),
            (b".reload\r", "\ngeneration"),
        ):
            shown.press(text)
            see(shown, seen)
            see(shown, "sql> ", last=True)
        shown.press(LONG.encode() + b";\r")
        see(shown, "= 3;")
        shown.press(b"\x03")
        see(shown, "stopped: the query was interrupted")
        shown.press(b"SELECT 6 *\r")
        see(shown, "...> ", last=True)
        shown.press(b"\x03")
        see(shown, "sql> ", last=True)
        shown.press(b"SELECT 6 * 7 AS answer;\r")
        see(shown, "    42")
        shown.press(b"\x04")
        assert shown.wait() == 0


def see(shown: Terminal, text: str, *, last: bool = False) -> None:
    shown.wait_for(lambda lines: text.rstrip() in (lines[-1] if last else "\n".join(lines)) if lines else False, 20.0)


WORDS = st.text(st.sampled_from("ab \n\t\x1b\x07é漢\u202e\u0301\ud800"), max_size=30)
CELLS = st.lists(st.lists(WORDS.filter(lambda word: "\ud800" not in word), min_size=3, max_size=3), max_size=4)


@given(CELLS, st.integers(1, 12), st.integers(20, 90))
def test_a_table_fits(rows: list[list[str]], columns: int, width: int) -> None:
    names = [f"column {number}" for number in range(columns)]
    schema = pa.schema([(name, pa.string()) for name in names])
    held = [[row[number % 3] for row in rows] for number in range(columns)]
    batch = pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in held], schema=schema)
    lines, left_out = draw_table(schema, [batch], width)
    assert len(lines) == len(rows) + 2
    assert all(cells(line) <= width for line in lines)
    assert not any(sign in line for line in lines for sign in "\n\t\x1b\x07\u202e")
    assert 0 <= left_out < columns
    whole, none_left_out = draw_table(schema, [batch], None)
    assert none_left_out == 0
    assert all(
        shown_text(text).rstrip() in line for line, row in zip(whole[2:], rows, strict=True) for text in row[:columns]
    )


def test_a_table_without_rows() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert draw_table(schema, [], 80) == (["a  b", "─  ─"], 0)
