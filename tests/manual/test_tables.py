"""Delta and Iceberg tables are, and keep, what the manual says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.contract import DAY
from exporter.sandbox import gate, make_conversations
from tests.manual.conftest import JANUARY
from tests.toolkit.clouds import Cloud
from tests.toolkit.lake import query_by_duckdb
from tests.toolkit.manual import PAGES, PROGRAMS, in_code, run_shell, serving

#: Programs that read Delta and Iceberg tables, by kind.
LAKE = [
    (kind, program)
    for program in PROGRAMS
    for kind, words in (("delta", ("deltalake", "scan_delta")), ("iceberg", ("pyiceberg",)))
    if any(word in program for word in words) and "s3://" not in program
]


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a directory for each kind of table, with an export that was made a table and has got rows since."""
    directory = tmp_path_factory.mktemp("lakes")
    command = PAGES["tables"].command_holding("export calls --table-format delta").strip()
    with serving(make_conversations(300, JANUARY, JANUARY + 90 * DAY)) as url:
        for kind in ("delta", "iceberg"):
            (directory / kind).mkdir()
            for options in ("--until 2026-01-20", "", "--until 2026-02-20"):
                line = f"{command.replace('delta', kind)} {options}"
                done = run_shell(line, directory / kind, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=url)
                assert done.returncode == 0, done.stderr
                if not (once := directory / f"{kind}-once").exists():
                    shutil.copytree(directory / kind, once)
    return directory


def test_there_is_a_program_of_each_kind() -> None:
    assert [kind for kind, _ in LAKE] == ["delta", "delta", "iceberg"]


@pytest.mark.parametrize(
    ("kind", "program"), [*LAKE, *((f"{kind}-once", program) for kind, program in LAKE if "generation" in program)]
)
def test_programs_that_read_tables(kind: str, program: str, lakes: Path) -> None:
    # Otherwise it warns that another package would plan a scan faster.
    environment = {**os.environ, "POLARS_ICEBERG_PLANNER": "pyiceberg"}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=lakes / kind, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert ("generation" in done.stdout) == ("generation" in program)


@pytest.mark.thorough
def test_queries_of_a_delta_table(lakes: Path) -> None:
    queries = [text for text in in_code(PAGES["tables"].section("Read a Delta table")) if "delta_scan" in text]
    days, before = (query_by_duckdb(query, lakes / "delta") for query in queries)
    assert days.num_rows > before.num_rows == 1


def test_a_delta_table_in_a_bucket(s3_process: Cloud, tmp_path: Path) -> None:
    page = PAGES["tables"]
    command = page.command_holding("s3://")
    (program,) = [program for program in page.in_language("python") if "s3://" in program]
    (bucket,) = set(re.findall(r"s3://([^/]+)/", command + program))
    s3_process.make_bucket(bucket)
    # The keys are in the environment here, and not in the profile.
    command = command.replace("export AWS_PROFILE=nightly\n", "")
    (line,) = [line for line in page.command_holding("export-credentials").splitlines() if "export-cred" in line]
    assert "--profile nightly --format env" in line
    # That also says when keys end that do, and a table of this store is read over HTTP.
    known = {**s3_process.environment, "AWS_ALLOW_HTTP": "true", "AWS_CREDENTIAL_EXPIRATION": "2040-01-01T00:00:00Z"}
    assert {"AWS_ALLOW_HTTP=true", "AWS_ENDPOINT_URL"} <= {*in_code(page.section("Delta in object stores"))}
    with serving(make_conversations(20, JANUARY, JANUARY + DAY)) as url:
        done = run_shell(command, tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=url, **known)
    assert done.returncode == 0, done.stderr
    known["AWS_ENDPOINT_URL"] = known["AWS_ENDPOINT_URL_S3"]
    reading = [sys.executable, "-W", "error", "-c", program]
    read = subprocess.run(reading, env={**os.environ, **known}, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    assert read.stdout.endswith("\n20\n")


def test_vacuuming(lakes: Path) -> None:
    command = PAGES["vacuum"].command_holding("exporter vacuum").strip()
    assert run_shell(command, lakes / "delta").returncode == 0
    done = run_shell(f"{command} --dry-run --json", lakes / "delta")
    assert PAGES["vacuum"].keys_of_json("a vacuum") == list(json.loads(done.stdout))
