"""The commands, queries and programs of the README and the manual run as they are written."""

import ast
import json
import re
import shlex
import subprocess
import wave
from pathlib import Path
from typing import Any

import duckdb
import pytest

from exporter.contract import BASE_URL_VARIABLE, TOKEN_VARIABLE
from exporter.sandbox import ORGANIZATION, PERSONAL_TOKEN, gate
from tests.toolkit.clouds import S3
from tests.toolkit.manual import (
    ALL,
    ASKED,
    EXPORTER,
    PAGES,
    PROGRAMS,
    QUERIES,
    README,
    ROOT,
    TOGETHER,
    WAREHOUSE,
    Page,
    in_code,
    run_shell,
    snippets_in,
)
from tests.toolkit.sizes import some_of

#: A web server does not end by itself; a test of its own runs it.
HANDLERS = [program for program in PROGRAMS if "web.run_app" in program]
#: Programs whose requirements are larger than everything else, or that are tested elsewhere.
ELSEWHERE = re.compile(
    r"pyspark|exporter\.(?:spark|ray)|spark\.(?:read|conf)|dask|import dlt|web\.run_app|deltalake|scan_delta|pyiceberg"
    r"|AESGCM|copy\.duckdb|import duckdb\nimport exporter|^(?:import|from) (?:airflow|dagster|prefect)",
    re.M,
)
RUN_HERE = [program for program in PROGRAMS if not ELSEWHERE.search(program)]


def test_the_test_command_is_the_one_that_has_to_pass() -> None:
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    for page in (README, PAGES["contributing"]):
        assert page.command_holding("'.[test]'").strip() in lines


def test_the_install_commands_make_their_own_environment() -> None:
    commands = (README.command_holding(".venv/bin/exporter demo"), README.command_holding("'.[test]'"))
    for command in (*commands, PAGES["start"].command_holding("pip install -q .")):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")


def test_the_demo_leaves_what_is_described(demo: Path) -> None:
    export = demo / "demo-export"
    assert {entry.name for entry in export.iterdir()} == {
        "conversations",
        "turns",
        "recordings",
        "media",
        "_manifest.json",
        "_SUCCESS",
        "_exporter",
    }
    manifest = json.loads((export / "_manifest.json").read_bytes())
    assert manifest["totals"]["rows"] == 2000
    links = "SELECT count(*) FROM read_parquet(?) WHERE recording_details LIKE '%http://127.0.0.1:%.wav?Expires=%'"
    (found,) = duckdb.execute(links, [f"{export}/conversations/*/*.parquet"]).fetchall()
    recordings = list((export / "media").glob("*/*.wav"))
    assert len(recordings) == found[0] == 8
    for recording in recordings:
        with wave.open(str(recording)) as sound:
            assert sound.getnframes() / sound.getframerate() == 60
            assert any(sound.readframes(sound.getnframes()))
    for page in (README, PAGES["start"]):
        assert "2,000 made-up conversations" in page.text
    assert "recordings of eight calls, in `demo-export/media`" in PAGES["start"].text


@pytest.mark.parametrize("page", some_of([README, PAGES["start"]], README), ids=lambda page: page.name)
def test_exporting_in_five_lines(page: Page, api: str, tmp_path: Path) -> None:
    command = page.command_holding("YOUR_TOKEN")
    assert len(command.splitlines()) == 5
    command = command.replace("YOUR_TOKEN", PERSONAL_TOKEN).replace("YOUR_ORGANIZATION", ORGANIZATION)
    done = run_shell(command, tmp_path, ANYREACH_BASE_URL=api)
    assert done.returncode == 0, done.stderr
    assert "from 2026-01-01 up to 2026-03-01 UTC" in done.stdout
    manifest = json.loads((tmp_path / "calls/_manifest.json").read_bytes())
    assert (manifest["state"], manifest["timing"]["runs"]) == ("complete", 2)


def test_bringing_up_to_date(api: str, tmp_path: Path) -> None:
    (option,) = [text for text in in_code(PAGES["export"].section("The range")) if text == "--until now"]
    for arguments in ("--until 2026-01-15", option):
        done = run_shell(
            f"exporter export calls {arguments}", tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=api
        )
        assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "calls/_manifest.json").read_bytes())
    assert manifest["totals"]["rows"] == 300
    assert manifest["range"]["start"] is None


@pytest.mark.parametrize("name", some_of(["export", "turns"], "turns"))
def test_exporting_with_turns(name: str, api: str, tmp_path: Path) -> None:
    command = PAGES[name].command_holding("--tables")
    done = run_shell(command, tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=api)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls/turns").is_dir()


@pytest.mark.parametrize(
    ("served", "tried", "said"),
    [
        ("sandbox --rows 3000 --behaviour", "export tried", "complete  3,000 conversations"),
        ("sandbox --rows 3000 --live", "sync tried", " inserted"),
        ("sandbox --rows 300 --media", "recordings heard", "kept  "),
    ],
)
def test_trying_out(tmp_path: Path, served: str, tried: str, said: str) -> None:
    page = PAGES["sandbox"]
    _, name, *options = shlex.split(page.command_holding(served))
    sandbox = subprocess.Popen(
        [EXPORTER, name, *options, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert sandbox.stdout is not None
        line = sandbox.stdout.readline()
        done = run_shell(line + page.command_holding(tried), tmp_path)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    finally:
        sandbox.terminate()
        sandbox.communicate(timeout=60)


def test_an_object_store(api: str, tmp_path: Path, s3: S3) -> None:
    command = PAGES["object-stores"].command_holding("s3://")
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
    assert "from 2026-01-01 up to 2026-02-01 UTC" in done.stdout
    assert "locked" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


def test_the_rule_for_what_killed_uploads_leave(s3: S3) -> None:
    import boto3

    (rule,) = [text for text in snippets_in("json") if "AbortIncompleteMultipartUpload" in text]
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3.url, **keys)
    client.create_bucket(Bucket="with-a-rule")
    client.put_bucket_lifecycle_configuration(Bucket="with-a-rule", LifecycleConfiguration=json.loads(rule))
    (kept,) = client.get_bucket_lifecycle_configuration(Bucket="with-a-rule")["Rules"]
    assert kept["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert PAGES["object-stores"].command_holding("s3://").count(kept["Filter"]["Prefix"].strip("/")) == 2


@pytest.mark.parametrize("query", QUERIES)
def test_queries(query: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert duckdb.execute(query).fetchall()


@pytest.mark.parametrize("program", RUN_HERE)
def test_programs(
    program: str, demo: Path, api: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each runs in this process, because most of its time would be to load the libraries that it reads with."""
    monkeypatch.chdir(demo)
    monkeypatch.setenv(TOKEN_VARIABLE, gate.TOKEN)
    monkeypatch.setenv(BASE_URL_VARIABLE, api)
    exec(compile(program, "a program of the manual", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_every_kind_of_snippet_is_looked_at() -> None:
    languages = {language for page in ALL for language, _ in page.snippets}
    programs = {"sh", "sql", "python", "ipython", "java"}
    assert languages == programs | {"ini", "json", "crontab", "mermaid", "toml", "text", "yaml", "dockerfile", "promql"}
    statements = [text for text in snippets_in("sql", TOGETHER) if text not in (*QUERIES, *WAREHOUSE, *ASKED)]
    # The two short queries of the README and of its first page are beside the ten others.
    assert (len(QUERIES), len(statements), len(snippets_in("ini")), len(snippets_in("crontab"))) == (12, 2, 4, 1)
    assert (len(snippets_in("ipython")), len(HANDLERS), len(PROGRAMS) - len(RUN_HERE)) == (1, 1, 20)
    (spark,) = [program for program in PROGRAMS if "pyspark" in program]
    ast.parse(spark)
    libraries = {"polars", "pandas", "pyarrow", "hashlib"}
    assert libraries <= {word for program in PROGRAMS for word in re.findall(r"^import (\w+)", program, re.MULTILINE)}


def test_each_row_is_counted_alike(demo: Path) -> None:
    """The snippets only print; this test checks that the ways of reading agree."""
    import pandas as pd
    import polars as pl
    import pyarrow.dataset as ds

    table, glob = demo / "demo-export/conversations", f"{demo}/demo-export/conversations/**/part-*.parquet"
    assert len(pd.read_parquet(table, dtype_backend="pyarrow")) == 2000
    assert ds.dataset(table, partitioning="hive").count_rows() == 2000
    by_polars = pl.scan_parquet(glob, hive_partitioning=True)
    assert by_polars.select(pl.len()).collect().item() == 2000
    assert by_polars.collect_schema()["created_date"] == pl.Date
    query = "SELECT count(*), any_value(typeof(created_date)) FROM read_parquet(?, hive_partitioning = true)"
    assert duckdb.execute(query, [glob]).fetchall() == [(2000, "DATE")]


def test_the_notebook(api: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cells run in a kernel, whose event loop runs already."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv(TOKEN_VARIABLE, gate.TOKEN)
    monkeypatch.setenv(BASE_URL_VARIABLE, api)
    cell: dict[str, Any] = {
        "cell_type": "code",
        "source": snippets_in("ipython")[0],
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "id": "a",
    }
    document = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook = nbformat.reads(json.dumps(document), as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
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
    exec(compile(HANDLERS[0], "python.md", "exec"), names)
    async with TestClient(TestServer(names["application"])) as client:
        answer = await client.get("/conversations", params={"since": "2026-01-01", "until": "2026-02-01"})
        rows = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert answer.status == 200
    assert 50 < len({row["id"] for row in rows}) == len(rows)
    assert all(row["created_at"].startswith("2026-01-") for row in rows)


def test_the_schema(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert run_shell(PAGES["columns"].command_holding("exporter schema"), demo).returncode == 0
    (statement,) = [
        text
        for text in snippets_in("sql", TOGETHER)
        if text not in (*QUERIES, *WAREHOUSE, *ASKED) and "add_parquet_key" not in text
    ]
    with duckdb.connect() as database:
        database.execute((demo / "conversations.sql").read_text(encoding="utf-8"))
        assert database.execute(statement).fetchall() == [(2000,)]
