"""Readers decrypt an export in the way that the manual shows, and its command changes the key."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from exporter.keys import DATA_VARIABLE, Key, Keys
from exporter.options.policy import load_policy
from exporter.options.privacy import find_new_key
from exporter.privacy import Encryption, KeyReference
from exporter.sandbox import make_conversations
from tests.jobs.made import SINCE, UNTIL, make_export, misfit
from tests.toolkit.manual import PAGES, run_shell

PAGE = PAGES["encryption"]
PYTHON = [text for language, text in PAGE.snippets if language == "python"]
ROWS = make_conversations(40, SINCE, UNTIL, transcripts=False)
OLD, NEW = Key("d1", bytes(range(32))), Key("d2", bytes(range(32, 64)))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("encrypted")
    for name, key in (("data.key", OLD), ("new.key", NEW)):
        (directory / name).write_bytes(base64.b64encode(key.secret))
        (directory / name).chmod(0o600)
    keys = Keys(data_file=directory / "data.key")
    make_export(directory / "calls", ROWS, encryption=Encryption(key=KeyReference(name="d1")), keys=keys)
    return directory


def test_the_policy_is_whole(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    (text,) = PAGE.in_language("toml")
    policy.write_text(text)
    loaded = load_policy(policy)
    assert loaded.encryption == Encryption(key=KeyReference(name="d1", env=DATA_VARIABLE))
    assert not loaded.policy.rules


@pytest.mark.parametrize("snippet", PYTHON, ids=["exporter", "pyarrow", "polars"])
def test_python(snippet: str, directory: Path) -> None:
    (directory / "script.py").write_text(snippet)
    path = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    done = run_shell(f"{sys.executable} script.py", directory, PYTHONPATH=path)
    assert done.stdout.strip() == str(len(ROWS)), done.stderr


def test_duckdb(directory: Path) -> None:
    (sql,) = [text for language, text in PAGE.snippets if language == "sql"]
    sql = sql.replace("THE_KEY_IN_BASE64", base64.b64encode(OLD.secret).decode())
    with duckdb.connect() as connection:
        answer = connection.execute(sql.replace("'calls/", f"'{directory}/calls/"))
        assert answer.fetchall() == [(len(ROWS),)]


def test_the_program_that_reads_audio_reads_the_quarantine(directory: Path, tmp_path: Path) -> None:
    (program,) = [text for text in PAGES["recordings"].in_language("python") if "AESGCM" in text]
    keys = Keys(data_file=directory / "data.key")
    root = make_export(tmp_path / "odd", [misfit(1)], encryption=Encryption(key=KeyReference(name="d1")), keys=keys)
    (file,) = (root / "_exporter/quarantine").iterdir()
    variables = {**os.environ, DATA_VARIABLE: base64.b64encode(OLD.secret).decode()}
    command = [sys.executable, "-W", "error", "-c", program, str(file)]
    done = subprocess.run(command, env=variables, capture_output=True, check=True)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["odd-1"]


def test_another_key(directory: Path) -> None:
    command = PAGE.command_holding("exporter rekey").strip()
    done = run_shell(f"{command} --json", directory)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == PAGE.keys_of_json("a change of the key")
    for key, status, said in (("new.key", 0, ""), ("data.key", 2, "not the key d2")):
        done = run_shell(f"exporter verify calls --data-key-file {key}", directory)
        assert (done.returncode, said in done.stderr) == (status, True)
    for options, status in (("", 3), ("--bytes-only", 0)):
        done = run_shell(f"exporter verify calls {options}", directory)
        assert done.returncode == status, done.stderr
        assert "contents not looked at" in done.stdout


def test_a_new_key_is_needed() -> None:
    assert find_new_key("d2", None, {"EXPORTER_NEW_DATA_KEY": base64.b64encode(NEW.secret).decode()}) == NEW
