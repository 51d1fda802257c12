"""The page of recordings has the columns, keys and exit statuses of the code, and does what it says by hand."""

import base64
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from exporter import errors
from exporter.cli.statuses import STATUSES
from exporter.encode.recordings import recordings_schema
from exporter.keys import DATA_VARIABLE, Key
from exporter.media_cipher import CHUNK_BYTES, SALT_BYTES, TAG_BYTES, Sealer
from exporter.options.recordings import RETRIED
from exporter.run import recordings as run
from exporter.schedule import outages
from tests.toolkit.manual import PAGES, help_of, in_code, names_in, run_shell

PAGE = PAGES["recordings"]


def test_the_columns() -> None:
    described = [(in_code(name)[0], in_code(kind)[0]) for name, kind, _ in PAGE.table_headed("column of `recordings`")]
    assert described == [(field.name, str(field.type)) for field in recordings_schema()]


def test_the_statuses() -> None:
    statuses = [in_code(status)[0] for status, *_ in PAGE.table_headed("status")]
    assert {*statuses} == {"stored", *RETRIED}
    (column,) = [text for name, _, text in PAGE.table_headed("column of `recordings`") if name == "`status`"]
    assert in_code(column) == [*dict.fromkeys(statuses)]
    known = STATUSES["recordings"].keys() - {errors.InterruptedExportError.exit_status}
    assert {int(status) for status, _ in PAGE.table_headed("exit status")} == known


def test_the_options_that_it_names() -> None:
    named = {name for text in in_code(PAGE.prose) for name in names_in(text) if "record" in name or "network" in name}
    known = {name for head in (*help_of("sync"), *help_of("recordings")) for name in names_in(head)}
    assert named - known <= {"--no-recordings"}


def test_the_keys_and_what_leaves_by_hand(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    done = run_shell("exporter recordings calls --recordings-wait 0s --json", tmp_path, ANYREACH_TOKEN="ak_none")
    assert done.returncode == 0, done.stderr
    assert set(PAGE.keys_of_json("recordings")) == set(json.loads(done.stdout))
    (tmp_path / "calls/media").joinpath(next((tmp_path / "calls/media").rglob("*.wav"))).unlink()
    assert run_shell("exporter verify calls", tmp_path).returncode == 6
    assert run_shell("exporter verify calls --repair", tmp_path).returncode == 0
    query = "SELECT count(*) FROM read_parquet(?)"
    (found,) = duckdb.execute(query, [f"{tmp_path}/calls/recordings/**/part-*.parquet"]).fetchall()
    assert found == (7,)


def test_the_form_of_encrypted_audio_and_a_program_that_reads_it(tmp_path: Path) -> None:
    (program,) = [text for text in PAGE.in_language("python") if "AESGCM" in text]
    assert len([line for line in program.splitlines() if line]) <= 20
    key, audio = Key("d1", bytes(range(32))), random.Random(1).randbytes(2 * CHUNK_BYTES + 1_000)
    variables = {**os.environ, DATA_VARIABLE: base64.b64encode(key.secret).decode()}

    def heard(sealed: bytes) -> subprocess.CompletedProcess[bytes]:
        file = tmp_path / "one.wav.enc"
        file.write_bytes(sealed)
        command = [sys.executable, "-W", "error", "-c", program, str(file)]
        return subprocess.run(command, env=variables, capture_output=True, check=False)

    for size_bytes in (1, CHUNK_BYTES, 2 * CHUNK_BYTES, len(audio)):
        sealer = Sealer(key)
        sealed = sealer.update(audio[:size_bytes]) + sealer.finish()
        done = heard(sealed)
        assert (done.returncode, done.stdout) == (0, audio[:size_bytes]), done.stderr
    header_bytes = len(b"exporter media 1 d1\n") + SALT_BYTES
    for kept in (header_bytes, header_bytes + CHUNK_BYTES + TAG_BYTES, len(sealed) - 1):
        assert heard(sealed[:kept]).returncode == 1
    assert f"{CHUNK_BYTES:,} + {TAG_BYTES}, as often" in PAGE.text


def test_the_figures() -> None:
    text = " ".join(PAGE.text.split())
    assert f"If {outages._FAILURES_IN_A_ROW} recordings in a row fail" in text
    assert re.search(rf"one for each {run._PAGE_SIZE} conversations", text)


@pytest.mark.parametrize("head", ["form", "command", "what"])
def test_its_tables_are_read_as_tables(head: str) -> None:
    assert PAGE.tables_headed(head)
