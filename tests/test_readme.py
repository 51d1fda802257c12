"""The README, held to its word: its commands and snippets run, and its tables say what the code says."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, get_args, get_origin

import duckdb
import msgspec
import pytest
from anyio.from_thread import start_blocking_portal

import exporter
from benchmarks.__main__ import PARTS
from benchmarks.results import load as load_results
from benchmarks.targets import table as targets_table
from exporter import errors
from exporter.check.problems import Problem
from exporter.cli.runner import SUMMARY_KEYS
from exporter.contract import (
    BASE_URL_VARIABLE,
    DAY,
    DEFAULT_BASE_URL,
    MUTABLE_FILTERS,
    OPEN_STATUSES,
    ORGANIZATION_VARIABLE,
    TOKEN_VARIABLE,
    parse_timestamp,
)
from exporter.encode.schema import arrow_schema
from exporter.layout import RUNS
from exporter.pipeline.committer import _RESERVED_BYTES
from exporter.plan.sample import most_differing
from exporter.run.record import Command
from exporter.sandbox import (
    DENSITIES,
    FAULTS,
    ORGANIZATION,
    PERSONAL_TOKEN,
    Behaviour,
    Row,
    behaviour_from_options,
    gate,
    make_conversations,
    serve,
)
from exporter.words import format_size
from tests.toolkit.clouds import S3
from tests.toolkit.lake import query_by_duckdb
from tests.toolkit.programs import find_program

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPORTER = Path(sysconfig.get_path("scripts")) / "exporter"

SNIPPETS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = [text for language, text in SNIPPETS if language == "sh"]
STATEMENTS = [text for language, text in SNIPPETS if language == "sql" and text.startswith("INSERT")]
QUERIES = [text for language, text in SNIPPETS if language == "sql" and text not in STATEMENTS]
PROGRAMS = [text for language, text in SNIPPETS if language == "python"]
CELLS = [text for language, text in SNIPPETS if language == "ipython"]
UNITS = [text for language, text in SNIPPETS if language == "ini"]
RULES = [text for language, text in SNIPPETS if language == "json"]
CRONTABS = [text for language, text in SNIPPETS if language == "crontab"]
#: What these programs need is larger than all the rest; they are looked at, not run.
SCHEDULED = [
    program for program in PROGRAMS if re.search(r"^(?:import|from) (?:airflow|dagster)", program, re.MULTILINE)
]
#: A web server has no end by itself; it is served in a test of its own.
HANDLERS = [program for program in PROGRAMS if "web.run_app" in program]

#: Programs that read Delta and Iceberg tables, by kind.
LAKE = [
    (kind, program)
    for program in PROGRAMS
    for kind, words in (("delta", ("deltalake", "scan_delta")), ("iceberg", ("pyiceberg",)))
    if any(word in program for word in words)
]

JANUARY = parse_timestamp("2026-01-01")

#: What every scheduler of the README runs; without the last, where nobody reads the summary.
SYNC = ["/opt/exporter/bin/exporter", "sync", "/srv/calls", "--token-file", "/etc/exporter/token", "--json"]

#: A line of a table that is neither its head nor its rule.
Cells: TypeAlias = list[str]


def tables_headed(first: str) -> list[list[Cells]]:
    """The rows of every table whose first column has this head."""
    found = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()] for body in found]


def table_headed(first: str) -> list[Cells]:
    (table,) = tables_headed(first)
    return table


def section(title: str) -> str:
    """The text under a heading, without its snippets."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    bodies: list[str] = re.findall(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", prose, re.DOTALL | re.MULTILINE)
    return bodies[0]


def in_code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def command_holding(words: str) -> str:
    (command,) = [command for command in COMMANDS if words in command]
    return command


def run_shell(command: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the README with the exporter that is installed here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANYREACH_")}
    return subprocess.run(
        ["sh", "-euc", command.replace(".venv/bin/exporter", shlex.quote(str(EXPORTER)))],
        cwd=directory,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the README's own demo has run."""
    directory = tmp_path_factory.mktemp("readme")
    done = run_shell(command_holding("exporter demo").rpartition("&&")[2], directory)
    assert done.returncode == 0, done.stderr
    return directory


@contextmanager
def serving(rows: list[Row]) -> Iterator[str]:
    """The address of a server with these conversations."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(rows)) as sandbox:
        yield sandbox.url


@pytest.fixture
def api() -> Iterator[str]:
    """The address of a server with conversations of the months that the README exports, and of those around them."""
    with serving(make_conversations(300, JANUARY - 31 * DAY, JANUARY + 90 * DAY)) as url:
        yield url


def test_the_test_command_is_the_one_that_has_to_pass() -> None:
    assert command_holding("/pytest\n").strip() in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_the_install_commands_make_their_own_environment() -> None:
    for command in (command_holding("exporter demo"), command_holding("'.[test]'")):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")


def test_the_demo_leaves_what_is_described(demo: Path) -> None:
    export = demo / "demo-export"
    assert {entry.name for entry in export.iterdir()} == {
        "conversations",
        "turns",
        "_manifest.json",
        "_SUCCESS",
        "_exporter",
    }
    manifest = json.loads((export / "_manifest.json").read_bytes())
    assert manifest["totals"]["rows"] == 2000
    assert "2,000 made-up conversations" in README


def test_exporting_in_five_lines(api: str, tmp_path: Path) -> None:
    command = command_holding("YOUR_TOKEN")
    assert len(command.splitlines()) == 5
    command = command.replace("YOUR_TOKEN", PERSONAL_TOKEN).replace("YOUR_ORGANIZATION", ORGANIZATION)
    done = run_shell(command, tmp_path, ANYREACH_BASE_URL=api)
    assert done.returncode == 0, done.stderr
    assert "from 2026-01-01T00:00:00Z before 2026-03-01T00:00:00Z" in done.stdout
    manifest = json.loads((tmp_path / "calls/_manifest.json").read_bytes())
    assert (manifest["state"], manifest["timing"]["runs"]) == ("complete", 2)


def test_bringing_up_to_date(api: str, tmp_path: Path) -> None:
    (option,) = [text for text in in_code(section("Export from the API")) if text.startswith("--until 0")]
    for arguments in ("--until 2026-01-15", option):
        done = run_shell(
            f".venv/bin/exporter export calls {arguments}", tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=api
        )
        assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "calls/_manifest.json").read_bytes())
    assert manifest["totals"]["rows"] == 300
    assert manifest["range"]["start"] is None


def test_trying_out(tmp_path: Path) -> None:
    _, name, *options = shlex.split(command_holding("exporter sandbox"))
    sandbox = subprocess.Popen(
        [EXPORTER, name, *options, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert sandbox.stdout is not None
        line = sandbox.stdout.readline()
        done = run_shell(line + command_holding("export tried"), tmp_path)
        assert done.returncode == 0, done.stderr
        assert "complete: 3,000 conversations" in done.stderr
    finally:
        sandbox.terminate()
        sandbox.communicate(timeout=10)


def test_an_object_store(api: str, tmp_path: Path, s3: S3) -> None:
    command = command_holding("s3://")
    (bucket,) = set(re.findall(r"s3://([^/]+)/", command))
    s3.make_bucket(bucket)
    (profile,) = re.findall(r"AWS_PROFILE=(\w+)", command)
    (tmp_path / "config").write_text(
        f"[profile {profile}]\nregion = eu-west-1\nendpoint_url = {s3.url}\n"
        "aws_access_key_id = AKIAFORTESTS\naws_secret_access_key = not-a-secret\n"
    )
    variables = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    done = run_shell(command, tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=api, **variables)
    assert done.returncode == 0, done.stderr
    assert "from 2026-01-01T00:00:00Z before 2026-02-01T00:00:00Z" in done.stdout
    assert done.stdout.endswith("no run holds it\n")
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


def test_the_rule_for_what_killed_uploads_leave(s3: S3) -> None:
    import boto3

    (rule,) = RULES
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3.url, **keys)
    client.create_bucket(Bucket="with-a-rule")
    client.put_bucket_lifecycle_configuration(Bucket="with-a-rule", LifecycleConfiguration=json.loads(rule))
    (kept,) = client.get_bucket_lifecycle_configuration(Bucket="with-a-rule")["Rules"]
    assert kept["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert command_holding("s3://").count(kept["Filter"]["Prefix"].strip("/")) == 2


@pytest.mark.parametrize("query", QUERIES)
def test_queries(query: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert duckdb.execute(query).fetchall()


@pytest.mark.parametrize(
    "program",
    [
        program
        for program in PROGRAMS
        if "pyspark" not in program and program not in [*SCHEDULED, *HANDLERS, *(one for _, one in LAKE)]
    ],
)
def test_programs(program: str, demo: Path, api: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=demo,
        env={**os.environ, TOKEN_VARIABLE: gate.TOKEN, BASE_URL_VARIABLE: api},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for each kind of table, in which an export was made one, and has got rows since."""
    directory = tmp_path_factory.mktemp("lakes")
    command = command_holding("--table-format delta").splitlines()[0]
    with serving(make_conversations(300, JANUARY, JANUARY + 90 * DAY)) as url:
        for kind in ("delta", "iceberg"):
            (directory / kind).mkdir()
            for options in ("--until 2026-01-20", "", "--until 2026-02-20"):
                line = f"{command.replace('delta', kind)} {options}"
                done = run_shell(line, directory / kind, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=url)
                assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.parametrize(("kind", "program"), LAKE)
def test_programs_that_read_tables(kind: str, program: str, lakes: Path) -> None:
    # Else it warns that another package would plan a scan faster.
    environment = {**os.environ, "POLARS_ICEBERG_PLANNER": "pyiceberg"}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=lakes / kind, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert ("generation" in done.stdout) == ("generation" in program)


def test_queries_of_a_delta_table(lakes: Path) -> None:
    queries = [text for text in in_code(section("As a Delta or Iceberg table")) if "delta_scan" in text]
    days, before = (query_by_duckdb(query, lakes / "delta") for query in queries)
    assert days.num_rows > before.num_rows == 1


def test_vacuuming(lakes: Path) -> None:
    _, command = command_holding("exporter vacuum").splitlines()
    assert run_shell(command, lakes / "delta").returncode == 0
    done = run_shell(f"{command} --dry-run --json", lakes / "delta")
    (described,) = re.findall(r"^The JSON of a vacuum has .*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert in_code(described) == list(json.loads(done.stdout))


def test_every_kind_of_snippet_is_looked_at() -> None:
    looked_at = sum(map(len, (COMMANDS, QUERIES, STATEMENTS, PROGRAMS, CELLS, UNITS, CRONTABS, RULES)))
    assert (len(SNIPPETS), len(QUERIES), len(UNITS), len(CRONTABS)) == (looked_at, 7, 2, 1)
    assert (len(STATEMENTS), len(CELLS), len(HANDLERS)) == (1, 1, 1)
    (spark,) = [program for program in PROGRAMS if "pyspark" in program]
    ast.parse(spark)
    libraries = {"polars", "pandas", "pyarrow", "hashlib"}
    assert libraries <= {word for program in PROGRAMS for word in re.findall(r"^import (\w+)", program, re.MULTILINE)}


def test_each_row_is_counted_alike(demo: Path) -> None:
    """The snippets only print; here the ways of reading that they show agree."""
    import pandas as pd
    import polars as pl
    import pyarrow.dataset as ds

    table, glob = demo / "demo-export/conversations", f"{demo}/demo-export/conversations/**/*.parquet"
    assert len(pd.read_parquet(table, dtype_backend="pyarrow")) == 2000
    assert ds.dataset(table, partitioning="hive").count_rows() == 2000
    by_polars = pl.scan_parquet(glob, hive_partitioning=True)
    assert by_polars.select(pl.len()).collect().item() == 2000
    assert by_polars.collect_schema()["created_date"] == pl.Date
    query = "SELECT count(*), any_value(typeof(created_date)) FROM read_parquet(?, hive_partitioning = true)"
    assert duckdb.execute(query, [glob]).fetchall() == [(2000, "DATE")]


def test_the_notebook(api: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a kernel of its own, whose event loop runs already."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv(TOKEN_VARIABLE, gate.TOKEN)
    monkeypatch.setenv(BASE_URL_VARIABLE, api)
    cell: dict[str, Any] = {
        "cell_type": "code",
        "source": CELLS[0],
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "id": "a",
    }
    document = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook = nbformat.reads(json.dumps(document), as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = [output["data"]["text/plain"] for output in notebook.cells[0].outputs if "data" in output]
    means = {row["channel"]: row["duration_mean"] for row in ast.literal_eval(shown)}
    assert means.keys() >= {"telephone", "webrtc"}
    assert means["telephone"] > 0


@pytest.mark.anyio
async def test_the_handler_of_a_web_server(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    monkeypatch.setenv(TOKEN_VARIABLE, gate.TOKEN)
    monkeypatch.setenv(BASE_URL_VARIABLE, api)
    names: dict[str, Any] = {"__name__": "handler"}
    exec(compile(HANDLERS[0], "README.md", "exec"), names)
    async with TestClient(TestServer(names["application"])) as client:
        answer = await client.get("/conversations", params={"since": "2026-01-01", "until": "2026-02-01"})
        rows = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert answer.status == 200
    assert 50 < len({row["id"] for row in rows}) == len(rows)
    assert all(row["created_at"].startswith("2026-01-") for row in rows)


def test_the_schema(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert run_shell(command_holding("exporter schema"), demo).returncode == 0
    with duckdb.connect() as database:
        database.execute((demo / "conversations.sql").read_text(encoding="utf-8"))
        assert database.execute(STATEMENTS[0]).fetchall() == [(2000,)]


def test_the_names_of_the_library() -> None:
    described = {
        name.partition("(")[0].removeprefix("await ") for names, _ in table_headed("name") for name in in_code(names)
    }
    assert described | {"Summary", "SyncResult", "RereadResult", "StreamReport", "__version__"} == set(exporter.__all__)


def test_columns() -> None:
    described = [(in_code(name)[0], in_code(kind)[0]) for name, kind in table_headed("column")]
    assert described == [(field.name, str(field.type)) for field in arrow_schema(None)]


def keys_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from keys_of(inside)
    elif isinstance(value, list) and value:
        yield from keys_of(value[0])


def check_manifest_keys(export: Path) -> None:
    manifest = json.loads((export / "_manifest.json").read_bytes())
    described = {in_code(key)[0]: in_code(text) for key, text in table_headed("key")}
    assert list(described) == list(manifest)
    for key, value in manifest.items():
        assert set(keys_of(value)) - {"created_date"} <= set(described[key]), key


def test_manifest_keys(demo: Path) -> None:
    check_manifest_keys(demo / "demo-export")


def test_quarantine(tmp_path: Path) -> None:
    rows = [Row(JANUARY, raw=f'{{"id":"{n}","created_at":"2026-01-01T00:00:00Z","duration":{n}.5}}') for n in range(2)]
    with serving(rows) as url:
        done = run_shell(".venv/bin/exporter export odd", tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=url)
    assert done.returncode == 3, done.stderr
    assert not (tmp_path / "odd/_SUCCESS").exists()
    check_manifest_keys(tmp_path / "odd")
    (file,) = json.loads((tmp_path / "odd/_manifest.json").read_bytes())["quarantine"]["files"]
    line = (tmp_path / "odd" / file["path"]).read_text(encoding="utf-8").splitlines()[0]
    assert set(json.loads(line)) <= set(in_code(section("What is guaranteed")))


def help_of(command: str) -> dict[str, str]:
    """The options of a command by what precedes their help, which is the text, from the help itself."""
    done = run_shell(f".venv/bin/exporter {command} --help", ROOT)
    assert done.returncode == 0, done.stderr
    _, _, options = done.stdout.partition("Options:\n")
    blocks = re.split(r"\n(?=  -)", "\n" + options)[1:]
    return {" ".join(block.split(maxsplit=3)[:3]): " ".join(block.split()) for block in blocks}


def names_in(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


def defaults_in(options: dict[str, str]) -> dict[frozenset[str], str]:
    found = {}
    for head, text in options.items():
        default = re.search(r"\[default: ([^;\]]+)", text)
        found[names_in(head)] = default[1] if default else ""
    return found


@pytest.mark.parametrize("command", ["export", "demo", "verify", "compact", "vacuum", "schema", "sandbox"])
def test_options(command: str) -> None:
    heading = {
        "export": "`exporter export DEST`:",
        "demo": "`exporter demo [DEST]`",
        "verify": "`exporter verify DEST`",
        "compact": "`exporter compact DEST` merges",
        "schema": "`exporter schema [DEST]` shows",
        "vacuum": "`exporter vacuum DEST` deletes replaced",
        "sandbox": "export tried",
    }[command]
    table = re.findall(r"^\| `-.*$", README[README.index(heading) :].split("\n\n| option |")[1], re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    described = {names_in(option): default.strip("`") for option, _, default in rows}
    actual = defaults_in(help_of(command))
    assert described.keys() == actual.keys()
    assert {names: described[names] for names, default in actual.items() if default} == {
        names: default for names, default in actual.items() if default
    }


def test_options_of_a_sync() -> None:
    start = README.index("`exporter sync DEST` takes the same")
    table = re.findall(r"^\| `-.*$", README[start:].split("\n\n")[1], re.MULTILINE)
    beside = {names_in(in_code(line)[0]) for line in table}
    taken_away = {names_in(name) for name in in_code(README[start:].partition("and:")[0])[1:]}
    assert help_names("sync") == help_names("export") - taken_away | beside


def help_names(command: str) -> set[frozenset[str]]:
    return set(defaults_in(help_of(command)))


def test_syncing(api: str, tmp_path: Path) -> None:
    for state in ("first", "again"):
        done = run_shell(
            command_holding("exporter sync").strip() + " --json",
            tmp_path,
            ANYREACH_TOKEN=gate.TOKEN,
            ANYREACH_BASE_URL=api,
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert figures["inserted"] == (300 if state == "first" else 0)
        assert (figures["rows"], figures["updated"], figures["rewritten"]) == (300, 0, 0)
    (described,) = re.findall(r"^The JSON of a sync has .*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert figures.keys() - set(SUMMARY_KEYS) == set(in_code(described))
    named = {name for name in in_code(section("Sync")) if name.startswith("--")}
    changing = {f"--{name.replace('_', '-')}" for name in MUTABLE_FILTERS}
    assert changing <= named
    assert set(OPEN_STATUSES) <= set(in_code(section("Sync")))


def test_options_of_an_audit() -> None:
    start = README.index("`exporter audit DEST` takes")
    beside = {
        names_in(in_code(line)[0]) for line in re.findall(r"^\| `-.*$", README[start:].split("\n\n")[1], re.MULTILINE)
    }
    export_options = [names_in(option) for option, *_ in tables_headed("option")[0]]
    from_concurrency_on = export_options[export_options.index(names_in("--concurrency")) :]
    assert help_names("audit") == {names_in("--since"), names_in("--lag"), *from_concurrency_on} | beside


def test_auditing(api: str, tmp_path: Path) -> None:
    variables = {"ANYREACH_TOKEN": gate.TOKEN, "ANYREACH_BASE_URL": api}
    assert run_shell(".venv/bin/exporter export calls", tmp_path, **variables).returncode == 0
    done = run_shell(command_holding("exporter audit"), tmp_path, **variables)
    assert (done.returncode, done.stderr.count("the same: ")) == (0, 3)
    figures = json.loads(
        run_shell(".venv/bin/exporter audit calls --json --sample 50% --repair", tmp_path, **variables).stdout
    )
    (described,) = re.findall(r"^The JSON of an audit has .*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert set(in_code(described)) == set(keys_of({**figures, "ids": None}))
    assert {in_code(kind)[0] for kind, _ in table_headed("it says")} == figures["ids"].keys()
    (example,) = [text for text in in_code(section("Audit")) if "windows differ" in text]
    differing, looked_at, at_most, windows = [int(number) for number in re.findall(r"(?<!\S)\d+(?!\S)", example)]
    assert most_differing(windows, looked_at, differing) == at_most
    assert f"({at_most / windows:.1%})" in example
    statuses = {int(status) for status, _ in table_headed("status of an audit")}
    assert statuses == {0, 1, 2, 3, errors.AccessError.exit_status, errors.DestinationLockedError.exit_status}


def test_options_of_a_reread() -> None:
    start = README.index("`exporter reread DEST` takes")
    beside = {
        names_in(in_code(line)[0]) for line in re.findall(r"^\| `-.*$", README[start:].split("\n\n")[1], re.MULTILINE)
    }
    export_options = [names_in(option) for option, *_ in tables_headed("option")[0]]
    from_concurrency_on = export_options[export_options.index(names_in("--concurrency")) :]
    assert help_names("reread") == {names_in("--since"), names_in("--lag"), *from_concurrency_on} | beside


def test_reading_again(api: str, tmp_path: Path) -> None:
    variables = {"ANYREACH_TOKEN": gate.TOKEN, "ANYREACH_BASE_URL": api}
    assert run_shell(".venv/bin/exporter export calls", tmp_path, **variables).returncode == 0
    done = run_shell(command_holding("exporter reread"), tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    figures = json.loads(run_shell(".venv/bin/exporter reread calls --json", tmp_path, **variables).stdout)
    (described,) = re.findall(r"^The JSON of a reread has .*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert set(in_code(described)) == set(keys_of(figures)) - set(SUMMARY_KEYS)


def test_options_of_the_other_commands() -> None:
    (sentence,) = re.findall(r"^`exporter status DEST` takes .*$", README, re.MULTILINE)
    assert {names for names in map(names_in, in_code(sentence)) if names} == {
        frozenset({"--json"}),
        frozenset({"--help"}),
        frozenset({"--version"}),
    }
    assert defaults_in(help_of("status")).keys() == {frozenset({"--json"}), frozenset({"--help", "-h"})}
    assert defaults_in(help_of("")).keys() == {frozenset({"--version"}), frozenset({"--help", "-h"})}


def test_verifying(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    done = run_shell(command_holding("exporter verify"), tmp_path)
    assert (done.returncode, done.stdout.count("sound and complete; 2,000 conversations")) == (0, 3)
    figures = run_shell(".venv/bin/exporter verify calls --json", tmp_path).stdout
    (described,) = re.findall(r"^The JSON of a verification has .*?\n\n", README, re.DOTALL | re.MULTILINE)
    problem = {field.name for field in msgspec.structs.fields(Problem)}
    assert set(in_code(described)) == {*json.loads(figures), *problem}
    statuses = {int(status) for status, _ in table_headed("exit status")}
    assert statuses == {0, 1, 2, 3, errors.DestinationLockedError.exit_status}


def test_compacting(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    done = run_shell(command_holding("exporter compact"), tmp_path)
    assert (done.returncode, done.stdout.count("nothing to merge: 2,000 conversations")) == (0, 1)
    figures = run_shell(".venv/bin/exporter compact calls --json", tmp_path).stdout
    (described,) = re.findall(r"^The JSON of a compaction has .*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert in_code(described) == list(json.loads(figures))


def test_the_list_of_runs(demo: Path) -> None:
    (line,) = (demo / "demo-export" / RUNS).read_text(encoding="utf-8").splitlines()
    described = list(chain(*(in_code(names) for names, _ in table_headed("field"))))
    assert sorted(described) == sorted(json.loads(line))
    assert f"`{RUNS}`" in section("What the runs did")
    assert {f"`{name}`" for name in get_args(Command)} <= set(re.findall(r"`\w+`", section("What the runs did")))


def test_the_status_for_programs(demo: Path) -> None:
    figures = run_shell(".venv/bin/exporter status demo-export --json", demo).stdout
    (described,) = re.findall(r"^The JSON of a status has .*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert in_code(described) == list(json.loads(figures))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What the schedulers run: a stub for the exporter, which says how it was called, and ends as it is told."""
    program = tmp_path / "opt/exporter/bin/exporter"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@" >>"$HOME/calls"\nexit "${STATUS:-0}"\n')
    program.chmod(0o755)
    return tmp_path


def test_the_crontab(installed: Path) -> None:
    variable, line = CRONTABS[0].splitlines()
    assert variable == f"{ORGANIZATION_VARIABLE}=YOUR_ORGANIZATION"
    *when, command = line.split(maxsplit=5)
    assert all(re.fullmatch(r"\*|\d+", field) for field in when)
    # To cron it is the end of the command.
    assert "%" not in command
    said = [
        run_shell(command.replace("/opt", f"{installed}/opt"), installed, HOME=str(installed), STATUS=status).stdout
        for status in ("0", "3")
    ]
    assert said == ["", "exporter: exit status 3\n"]
    assert (installed / "calls").read_text().splitlines() == [shlex.join(SYNC[1:-1])] * 2


def test_the_units(installed: Path) -> None:
    analyze = find_program("systemd-analyze", "apt-get install systemd")
    shutil.copytree("/lib/systemd/system", installed / "usr/lib/systemd/system", symlinks=True)
    (installed / "lib").symlink_to("usr/lib")
    units = installed / "etc/systemd/system"
    units.mkdir(parents=True)
    names = re.findall(r"`/etc/systemd/system/(exporter\.\w+)`", section("Run it by a scheduler"))
    assert names == ["exporter.service", "exporter.timer"]
    for name, text in zip(names, UNITS, strict=True):
        (units / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", f"--root={installed}", *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (command,) = re.findall(r"^ExecStart=(.*)$", UNITS[0], re.MULTILINE)
    assert shlex.split(command) == SYNC[:-1]
    (when,) = re.findall(r"^OnCalendar=(.*)$", UNITS[1], re.MULTILINE)
    assert subprocess.run([analyze, "calendar", when], capture_output=True, check=False).returncode == 0


def test_what_the_schedulers_run() -> None:
    assert len(SCHEDULED) == 2
    for program in SCHEDULED:
        compile(program, "README.md", "exec")
        (command,) = re.findall(r"^SYNC = (.*)$", program, re.MULTILINE)
        assert ast.literal_eval(command) == SYNC
        statuses = {int(status) for status in re.findall(r"returncode in \((.*)\)", program)[0].split(",")}
        assert statuses == {errors.UsageError.exit_status, 3, errors.AccessError.exit_status}
    assert names_in(" ".join(SYNC)) <= {name for names in defaults_in(help_of("sync")) for name in names}


def test_choices_and_the_summary() -> None:
    rows = {in_code(option)[0].split()[0]: in_code(text) for option, text, *_ in chain(*tables_headed("option"))}
    options = help_of("export")
    for option in ("--direction", "--channel", "--status"):
        (text,) = [text for head, text in options.items() if head.split()[0] == option]
        assert ", ".join(rows[option]) in text
    assert rows["--partition-by"] == ["day", "hour", "month", "none"]
    assert rows["--density"] == list(DENSITIES)
    (line,) = [text for option, text, *_ in tables_headed("option")[0] if option.startswith("`--json`")]
    assert tuple(in_code(line)) == SUMMARY_KEYS


def test_exit_statuses() -> None:
    def statuses(kind: type[errors.ExporterError]) -> set[int]:
        return {kind.exit_status}.union(*map(statuses, kind.__subclasses__()))

    # No error stands for these two: everything was read.
    finished = {0, 3}
    assert [int(status) for status, _ in table_headed("status")] == sorted(statuses(errors.ExporterError) | finished)


def test_variables() -> None:
    assert [in_code(name) for name, _ in table_headed("variable")] == [
        [TOKEN_VARIABLE],
        [ORGANIZATION_VARIABLE],
        [BASE_URL_VARIABLE],
        ["HTTPS_PROXY", "https_proxy"],
        ["http_proxy"],
        ["NO_PROXY", "no_proxy"],
        ["SSL_CERT_FILE", "SSL_CERT_DIR"],
    ]
    assert DEFAULT_BASE_URL in README


def test_switches() -> None:
    rows = {in_code(name)[0]: (in_code(text), in_code(default)) for name, text, default in table_headed("switch")}
    plain = {in_code(name)[0]: default.strip("`") for name, _, default in table_headed("switch")}
    fields = {field.name: field for field in msgspec.structs.fields(Behaviour)}
    assert list(rows) == list(fields)
    for name, field in fields.items():
        if plain[name]:
            assert behaviour_from_options([f"{name}={plain[name]}"]) == Behaviour(), name
        else:
            assert field.default in (None, ()), name
        if get_origin(field.type) is not None and all(isinstance(value, str) for value in get_args(field.type)):
            assert set(get_args(field.type)) <= set(rows[name][0]), name
    assert rows["faults"][0] == list(FAULTS)


def test_tokens_of_the_sandbox() -> None:
    assert {text for text in in_code(section("Try it out")) if re.match("ak_|pat_", text)} == set(gate.TOKENS)
    assert f"`{ORGANIZATION}`" in README


def test_layout() -> None:
    (layout,) = re.findall(r"^```\n(exporter/\n.*?)^```$", README, re.DOTALL | re.MULTILINE)
    described = set(re.findall(r"(\w+/|\w+\.py)(?= )", layout.split("tests/")[0]))
    actual = {f"{entry.name}/" if entry.is_dir() else entry.name for entry in (ROOT / "exporter").iterdir()}
    listed = described
    assert {name for name in actual if not name.startswith("_") and name != "py.typed"} == listed


def test_the_long_runs() -> None:
    for command in (command_holding("EXPORTER_WALK_EXAMPLES=") + command_holding("EXPORTER_WORLDS=")).splitlines():
        variable, _, rest = command.partition("=")
        assert f'"{variable}"' in (ROOT / rest.split()[-1]).read_text(encoding="utf-8")


def test_speed_and_cost() -> None:
    """The table, the machine and the picture are those of the last measurement that is kept."""
    results = load_results(ROOT / "benchmarks/results/results.json", "full")
    assert set(results.sessions) == set(PARTS)
    assert "\n".join(targets_table(results)) in README
    machines = {session.machine for session in results.sessions.values()}
    assert [f"Measured on {machine}." in " ".join(README.split()) for machine in machines] == [True]
    (picture,) = re.findall(r"^!\[.*\]\((benchmarks/.*)\)$", README, re.MULTILINE)
    assert (ROOT / picture).read_text(encoding="utf-8").startswith("<svg")
    (parts,) = re.findall(r"^`--only` takes some of the parts: (.*?)\.", README, re.DOTALL | re.MULTILINE)
    assert set(in_code(parts)) == set(PARTS)


def test_the_benchmarks_command() -> None:
    _, _, command = command_holding("-m benchmarks").rpartition("&& ")
    done = run_shell(command.replace(".venv-bench/bin/python", sys.executable).strip() + " --help", ROOT)
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout


def test_what_of_the_disk_is_kept_free() -> None:
    kept = format_size(_RESERVED_BYTES).replace(".0 ", " ")
    assert f"\n- {kept} of the disk are kept free:" in README
