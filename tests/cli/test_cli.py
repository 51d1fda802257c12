import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, cast

import anyio
import anyio.lowlevel
import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trustme

from exporter import __version__
from exporter.cli import main
from exporter.cli.query import describe_reading
from exporter.cli.report import describe_summary, describe_synced
from exporter.cli.status_report import describe_status, status_figures
from exporter.contract import (
    DAY,
    FILTERS_BY_NAME,
    RESERVED_PARAMETERS,
    format_instant,
    parse_timestamp,
    to_datetime,
)
from exporter.coverage import Period
from exporter.errors import AccessError, DestinationLockedError, InterruptedExportError
from exporter.jobs.protection_result import Protection
from exporter.jobs.status import Status
from exporter.jobs.summary import Summary
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.vacuum import VacuumResult
from exporter.keys import Keys
from exporter.lake.kept import KeptTables
from exporter.log.hydrated import Hydrated
from exporter.model import TableFormat
from exporter.progress import Observer, Snapshot
from exporter.run.context import RunContext
from exporter.settings import Credentials, Request, RunSettings, Selection
from tests.toolkit.dated import are_dated, undated
from tests.toolkit.processes import started

TOKEN = "ak_a-secret-of-the-tests"

SUMMARY = Summary(
    state="complete",
    generation=1_234,
    rows=12_345,
    files=31,
    bytes=45_200_000,
    requests=130,
    seconds=12.3,
    manifest="/data/out/_manifest.json",
    resumed=False,
    changed=True,
    quarantined_rows=0,
    unproven=0,
    withheld=(),
    partly_withheld=0,
    range_start=datetime(2026, 1, 1, tzinfo=UTC),
    range_end=datetime(2026, 2, 1, tzinfo=UTC),
    partition_key="created_date",
    organization="org_1",
    request=Request(filters={"channel": "email"}),
    new_rows=12_345,
)


def summary_with(**changes: object) -> Summary:
    return msgspec.structs.replace(SUMMARY, **changes)


class Job:
    """Stands in for the export job: keeps the request that it was given, and returns what the test wants."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, Selection, RunSettings, Credentials]] = []
        self.result: Summary | BaseException = SUMMARY
        self.during: Callable[[Observer], None] = lambda observer: None

    async def __call__(self, destination: Path, asked: Selection, context: RunContext) -> Summary:
        self.calls.append((destination, asked, context.settings, context.credentials))
        self.during(context.observer)
        await anyio.lowlevel.checkpoint()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    @property
    def asked(self) -> Selection:
        return self.calls[0][1]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job()
    module = ModuleType("exporter.jobs.export")
    module.export = job  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exporter.jobs.export", module)
    return job


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYREACH_TOKEN", TOKEN)
    monkeypatch.delenv("ANYREACH_ORG_ID", raising=False)
    monkeypatch.delenv("ANYREACH_BASE_URL", raising=False)


class Done(NamedTuple):
    status: int
    out: str
    err: str


Run: TypeAlias = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, and checks that its output never holds the token."""

    def run(*arguments: str) -> Done:
        status = main(arguments)
        output = capsys.readouterr()
        assert TOKEN not in output.out + output.err
        return Done(status, output.out, undated(output.err))

    return run


def run_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
        timeout=300,
    )


BAD_COMMANDS = [
    ("--since someday", "--since 'someday': not a time. Write a time as 2026-02-10,"),
    ("--until 2026-02-30", "--until '2026-02-30': there is no such day or time. Write a time as"),
    ("--since 2026-02-10T00:00:00.1234567Z", "--since '2026-02-10T00:00:00.1234567Z': finer than a microsecond."),
    (
        "--since 2026-02-11 --until 2026-02-10",
        "--since (2026-02-11T00:00:00Z) lies after --until (2026-02-10T00:00:00Z): swap them?\n",
    ),
    (
        "--since 2026-02-10 --until 2026-02-10",
        "nothing to export: the range starts at 2026-02-10T00:00:00Z and ends at 2026-02-10T00:00:00Z. Give an "
        "earlier --since, or a later --until\n",
    ),
    ("--since 30s", "nothing to export: the range starts at "),
    ("--created-after 2026-02-11 --created-before 2026-02-10", "--created-after (2026-02-11T00:00:00Z) lies after --c"),
    ("--since 1d --created-after 1d", "--since and --created-after: give only one of them\n"),
    ("--until 1d --created-before 1d", "--until and --created-before: give only one of them\n"),
    (
        "--direction sideways",
        "--direction 'sideways': known values are inbound, outbound. To send a newer one unchecked",
    ),
    (
        "--channel fax",
        "--channel 'fax': known values are telephone, webrtc, email, text. To send a newer one unchecked",
    ),
    ("--status done", "--status 'done': known values are token_created, triggered, ringing, in_progress, completed,"),
    ("--duration-above long", "--duration-above 'long': must be a duration such as 90s, 5m or 2h, or a number of"),
    ("--user-turn-count-below 1.5", "--user-turn-count-below '1.5': must be a whole number\n"),
    (
        "--updated-after 7d",
        "--updated-after '7d': must be a time such as 2026-02-10, the same on every day, because it is stored "
        "with the export\n",
    ),
    ("--updated-before soon", "--updated-before 'soon': not a time."),
    ("--custom-metadata [1]", "--custom-metadata '[1]': must be a JSON object, such as '{\"order_id\": \"123\"}'\n"),
    ("--custom-metadata order", "--custom-metadata 'order': must be a JSON object"),
    ("--agent-id ''", "--agent-id: must have a value\n"),
    ("--filter colour", "--filter 'colour': must be name=value\n"),
    ("--filter limit=5", "--filter limit: the exporter sets this itself; use"),
    ("--user-id ada --user-id bob", "the filter user_id is given twice: 'ada' and 'bob'\n"),
    ("--status failed --filter status=x", "the filter status is given twice: 'failed' and 'x'\n"),
    ("--fields id,nme", "--fields: no such field: nme. The fields are id, organization_id,"),
    (
        "--exclude-fields transcript",
        "--exclude-fields: no such field: transcript. The transcript is the field conversation\n",
    ),
    ("--exclude-fields status", "--exclude-fields: status cannot be left out\n"),
    ("--fields id --exclude-fields agent", "--fields and --exclude-fields: give only one of them\n"),
    ("--page-size 0", "--page-size 0: must be from 1 to 1000\n"),
    ("--page-size 1001", "--page-size 1001: must be from 1 to 1000\n"),
    ("--concurrency 0", "--concurrency 0: must be from 1 to 1024\n"),
    ("--max-rps 0", "--max-rps 0: must be a number above 0\n"),
    ("--lag -1", "--lag -1: must be from 0 to 366 days\n"),
    ("--part-size huge", "--part-size 'huge': write a size as 256MB, 1GiB, or a number of bytes\n"),
    ("--tables turns", "--tables: conversations cannot be left out; give conversations,turns\n"),
    ("--tables conversations,words", "--tables: no such table: words. The tables are conversations, turns\n"),
    (
        "--tables conversations,turns --exclude-fields conversation",
        "--tables: turns are made of transcripts, but the field conversation is left out\n",
    ),
    ("--part-size 0MB", "--part-size: must be at least one byte\n"),
    ("--iceberg-catalog prod", "--iceberg-catalog: give it together with --table-format iceberg\n"),
    (
        "--table-format delta --iceberg-catalog prod",
        "--iceberg-catalog: give it together with --table-format iceberg\n",
    ),
    (
        "--table-format iceberg --iceberg-catalog a/b/c",
        "--iceberg-catalog 'a/b/c': write it as CATALOG or CATALOG/NAMESPACE\n",
    ),
    ("--token-file none", "--token-file none: No such file or directory\n"),
]


@pytest.mark.parametrize(("options", "message"), BAD_COMMANDS, ids=[options for options, _ in BAD_COMMANDS])
def test_a_bad_option_is_explained_before_anything_is_touched(
    options: str, message: str, job: Job, tmp_path: Path, run: Run
) -> None:
    done = run("export", "out", *shlex.split(options))
    assert done.status == 2
    assert done.err.startswith(f"exporter: {message}")
    assert done.err.count("\n") <= 2
    assert done.out == ""
    assert job.calls == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ANYREACH_TOKEN": ""}, "no token: set ANYREACH_TOKEN, or give --token-file or --token-command\n"),
        ({"ANYREACH_TOKEN": "pat_x"}, "a personal token (pat_) needs its organization: set ANYREACH_ORG_ID, or give"),
        ({"ANYREACH_BASE_URL": "http://example.com"}, "ANYREACH_BASE_URL 'http://example.com': the token would travel"),
        ({"ANYREACH_BASE_URL": "example.com"}, "ANYREACH_BASE_URL 'example.com': must be https://HOST\n"),
    ],
)
def test_a_bad_environment_is_explained_before_anything_is_touched(
    variables: dict[str, str],
    message: str,
    job: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = run("export", "out")
    assert done.status == 2
    assert done.err.startswith(f"exporter: {message}")
    assert job.calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_token_file_that_others_can_read_is_refused(job: Job, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    done = run("export", "out", "--token-file", "token")
    assert done.status == 2
    assert done.err == "exporter: --token-file token: others can read it; run: chmod 600 token\n"
    file.chmod(0o600)
    assert run("export", "out", "--token-file", "token").status == 0
    assert job.calls[0][3] == Credentials(TOKEN)


def test_a_url_that_holds_a_secret_is_refused_without_repeating_it(job: Job, run: Run) -> None:
    for url in ("s3://key:secret@bucket/x", "az://container/x?sig=secret", "https://user:secret@host/x"):
        done = run("export", url)
        assert (done.status, done.out, "secret" in done.err) == (2, "", False)
        assert done.err.startswith(f"exporter: {url.partition('//')[0]}//: ")
    assert job.calls == []


def test_an_empty_destination_is_not_the_current_directory(job: Job, run: Run) -> None:
    done = run("export", "")
    assert done.status == 2
    assert done.err == "exporter: the destination must be a path or a URL\n"
    assert job.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["export"],
        ["export", "out", "--nonsense"],
        ["export", "out", "--page-size", "many"],
        ["export", "out", "--partition-by", "year"],
        ["export", "out", "--table-format", "hudi"],
        ["export", "out", "--log-format", "xml"],
        ["export", "out", "--token", TOKEN[:3]],
        ["exprot", "out"],
        ["demo", "--rows", "0"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], job: Job, run: Run) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert done.err.startswith("exporter: ") and done.err.count("\n") == 1
    assert job.calls == []


def test_a_bare_export_asks_for_what_is_stored(job: Job, run: Run) -> None:
    assert run("export", "out").status == 0
    assert job.calls == [(Path("out"), Selection(), RunSettings(), Credentials(TOKEN))]


def test_tables_are_named_in_any_order(job: Job, run: Run) -> None:
    assert run("export", "out", "--tables", " turns,conversations").status == 0
    assert job.calls[0][1] == Selection(tables=("conversations", "turns"))


def test_options_become_the_request(job: Job, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("ANYREACH_TOKEN", "pat_x")
    monkeypatch.setenv("ANYREACH_BASE_URL", "http://localhost:8080/")
    command = """
        export some/out --since 2026-01-01 --until 2026-02-01T00:00:00+01:00 --lag 5 --status completed --user-id 4711
        --duration-above 10 --updated-after 2026-01-05 --filter colour=red --filter size=
        --exclude-fields conversation,agent --partition-by hour --concurrency 3 --max-rps 2.5
        --page-size 100 --part-size 8MB --org-id org_1
    """
    assert run(*shlex.split(command)).status == 0
    destination, asked, settings, credentials = job.calls[0]
    assert destination == Path("some/out")
    assert asked.since == parse_timestamp("2026-01-01")
    assert asked.until == parse_timestamp("2026-01-31T23:00:00Z")
    assert asked.filters == {
        "status": "completed",
        "user_id": "4711",
        "duration_above": "10",
        "updated_after": "2026-01-05T00:00:00Z",
        "colour": "red",
        "size": "",
    }
    assert asked.fields is not None and "summary" in asked.fields
    assert not {"agent", "conversation"} & set(asked.fields)
    assert asked.partition_by == "hour"
    assert settings == RunSettings(
        base_url="http://localhost:8080",
        lag_seconds=5,
        concurrency=3,
        max_rps=2.5,
        page_size=100,
        target_part_bytes=8_000_000,
    )
    assert credentials == Credentials("pat_x", "org_1")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("", None),
        ("--table-format delta", TableFormat(kind="delta")),
        ("--table-format iceberg", TableFormat(kind="iceberg", catalog=None, namespace="exporter")),
        ("--table-format iceberg --iceberg-catalog prod", TableFormat(kind="iceberg", catalog="prod")),
        (
            "--table-format iceberg --iceberg-catalog prod/a.b-1",
            TableFormat(kind="iceberg", catalog="prod", namespace="a.b-1"),
        ),
    ],
)
def test_a_table_format(options: str, wanted: TableFormat | None, job: Job, run: Run) -> None:
    assert run("export", "out", *options.split()).status == 0
    assert job.calls[0][1].table_format == wanted


@pytest.mark.parametrize(("age", "microseconds"), [("0s", 0), ("36h", 36 * 3600 * 1_000_000), ("", 7 * DAY)])
def test_what_a_vacuum_deletes(age: str, microseconds: int, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    calls: list[Any] = []

    async def vacuum(destination: Path, *, before: int, now: int, dry_run: bool, keys: Keys) -> VacuumResult:
        calls.append((destination, now + 1 - before, dry_run))
        return VacuumResult(files=2, bytes=3_000_000, kept_files=1)

    monkeypatch.setattr("exporter.jobs.vacuum.vacuum", vacuum)
    options = ["--older-than", age] if age else []
    done = run("vacuum", "out", *options, "--dry-run")
    assert done.out == "would delete 2 replaced files of 3.0 MB\n  1 other was replaced later, and is kept\n"
    assert json.loads(run("vacuum", "out", *options, "--json").out) == {
        "files": 2,
        "bytes": 3_000_000,
        "kept_files": 1,
        "dropped_files": 0,
        "dropped_bytes": 0,
        "dropped_waiting": 0,
        "dropped_needed": [],
        "media_files": 0,
        "media_bytes": 0,
        "changes_files": 0,
        "changes_bytes": 0,
        "changes_from": 0,
    }
    assert calls == [(Path("out"), microseconds, True), (Path("out"), microseconds, False)]


@pytest.mark.parametrize("age", ["7", "week", "-1d", "2026-01-01"])
def test_a_vacuum_wants_an_age(age: str, run: Run) -> None:
    done = run("vacuum", "out", f"--older-than={age}")
    assert (done.status, done.err) == (
        2,
        f"exporter: --older-than '{age}': must be an age, such as 36h or 7d, or 0s for all\n",
    )


def test_the_way_to_the_api(job: Job, monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128")
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert run("export", "out", "--ca-file", str(tmp_path / "ca.pem")).status == 0
    assert run("export", "out").status == 0
    first, second = (settings for _, _, settings, _ in job.calls)
    assert first.proxy is not None
    assert (first.proxy.address, first.proxy == second.proxy) == ("proxy.example:3128", True)
    assert (first.ca_file, second.ca_file) == (tmp_path / "ca.pem", None)


def test_the_range_can_be_given_by_the_api_s_inclusive_names(job: Job, run: Run) -> None:
    run("export", "out", "--created-after", "2026-01-01", "--created-before", "2026-01-31T23:59:59.999999Z")
    assert (job.asked.since, job.asked.until) == (parse_timestamp("2026-01-01"), parse_timestamp("2026-02-01"))


def test_plain_http_elsewhere_needs_a_word_of_consent(job: Job, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("ANYREACH_BASE_URL", "http://10.0.0.1")
    assert run("export", "out", "--insecure-http").status == 0
    assert job.calls[0][2].base_url == "http://10.0.0.1"


def test_an_empty_base_url_is_none(job: Job, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("ANYREACH_BASE_URL", "")
    assert run("export", "out").status == 0
    assert job.calls[0][2].base_url == "https://api.anyreach.ai"


SAMPLE_VALUES = {"choice": "", "text": "x", "integer": "7", "metadata": "{}", "time": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize("name", FILTERS_BY_NAME)
def test_every_filter_of_the_api_has_an_option_of_its_name(name: str, job: Job, run: Run) -> None:
    known = FILTERS_BY_NAME[name]
    value = known.choices[-1] if known.choices else SAMPLE_VALUES[known.kind.value]
    assert run("export", "out", "--" + name.replace("_", "-"), value).status == 0
    assert job.asked.filters == {name: value}


def test_the_list_of_commands_cuts_nobody_short(run: Run) -> None:
    listed = " ".join(run("--help").out.partition("Start here:")[2].split())
    assert "..." not in listed
    assert "sync Bring DEST up to the present: read what is new, and what has changed since it was read. " in listed


def test_help_names_every_filter_and_value(run: Run) -> None:
    done = run("export", "--help")
    assert done.status == 0
    text = " ".join(done.out.split())
    ranges = [name for name in RESERVED_PARAMETERS if name.startswith("created")]
    for name in [*FILTERS_BY_NAME, *ranges]:
        assert f"--{name.replace('_', '-')} " in text
    for known in FILTERS_BY_NAME.values():
        assert ", ".join(known.choices) in text


def test_json_puts_one_object_on_stdout_in_place_of_the_report(job: Job, run: Run) -> None:
    done = run("export", "out", "--json")
    assert done.status == 0
    assert json.loads(done.out) == {
        "state": "complete",
        "generation": 1_234,
        "rows": 12_345,
        "files": 31,
        "bytes": 45_200_000,
        "requests": 130,
        "seconds": 12.3,
        "manifest": "/data/out/_manifest.json",
        "organization": "org_1",
        "filters": {"channel": "email"},
        "ignored_filters": [],
        "timezone": "UTC",
        "fields": None,
        "withheld": [],
        "hydrated": {"fields": [], "rows": 0, "gone": 0, "lacking": 0},
        "partition_by": "day",
        "tables": ["conversations"],
        "new_rows": 12_345,
        "expired_rows": 0,
        "retries": 0,
        "throttled": 0,
        **dict.fromkeys(("unproven", "quarantined_rows", "new_doubts", "accepted"), 0),
    }
    assert done.out.count("\n") == 1
    assert done.err == ""


def test_the_report_is_on_stdout_and_without_a_hint_where_nobody_could_paste_it(job: Job, run: Run) -> None:
    done = run("export", "out")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("✔ complete  12,345 conversations, ")
    assert "DuckDB" not in done.out


def test_a_quiet_command_prints_one_line_of_its_report_and_errors(job: Job, run: Run) -> None:
    job.during = lambda observer: observer.warn("odd")
    done = run("export", "out", "-q")
    assert (done.out.count("\n"), done.err) == (1, "")
    assert done.out.startswith("✔ complete  12,345 conversations")
    job.result = AccessError("the token was refused")
    assert run("export", "out", "--quiet") == (4, "", "exporter: the token was refused\n")


def test_json_lines_end_with_a_summary_or_with_what_failed(job: Job, run: Run) -> None:
    snapshots = [Snapshot(0.5, 10 * second, 1000, 1, 2, 0, 0, 8, 1, second / 2) for second in range(5)]

    def report(observer: Observer) -> None:
        for snapshot in snapshots:
            observer.progress(snapshot)

    job.during = report
    *shown, last = map(json.loads, run("export", "out", "--json-lines").out.splitlines())
    assert [(each["event"], each["rows"]) for each in shown] == [("progress", 0), ("progress", 20), ("progress", 40)]
    assert (last["event"], last["state"], last["rows"]) == ("summary", "complete", 12_345)
    job.result = AccessError("the token was refused")
    done = run("export", "out", "--json-lines")
    assert json.loads(done.out.splitlines()[-1]) == {
        "event": "failed",
        "reason": "the token was refused",
        "exit_status": 4,
    }
    assert done.err == "exporter: the token was refused\n"


@pytest.mark.parametrize("option", ["--json", "--json-lines"])
@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (("export", "out", "--status", "nope"), 2, "--status 'nope': known values are "),
        (("export", "out", "--nonsense"), 2, "export has no option --nonsense"),
        (("export", "out", "more"), 2, "export: 'more' is one argument too many"),
        (("frobnicate",), 2, "there is no command frobnicate"),
        (("compact", "no-such-export"), 2, "no-such-export: no export here"),
        (("verify", "no-such-export"), 2, "no-such-export: no export here"),
        (("export", "out"), 4, "the token was refused"),
        (("export", "out", "--log-format", "json"), 4, "the token was refused"),
    ],
)
def test_whatever_fails_ends_with_one_object_for_a_program(
    option: str, line: tuple[str, ...], status: int, reason: str, job: Job, run: Run
) -> None:
    job.result = AccessError("the token was refused")
    done = run(*line, option)
    (last,) = map(json.loads, done.out.splitlines())
    assert (done.status, last["event"], last["exit_status"]) == (status, "failed", status)
    assert last["reason"].startswith(reason)
    assert last["reason"] in done.err.replace("\\n", "\n")
    assert not run("export", "out", "--", option).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--json", "--json-lines"], "--json and --json-lines: give only one of them"),
        (["--log-file-size", "1MB"], "--log-file-size: give it together with --log-file"),
        (["--log-file", "log", "--log-file-size", "1 mile"], "--log-file-size '1 mile': write a size as 256MB"),
        (
            ["--log-file", "out/_manifest.json"],
            "--log-file out/_manifest.json: inside the export. Name a",
        ),
        (["--log-file", "log", "--log-file-size", "0"], "--log-file-size: must be at least one byte"),
        (["--log-file", "no/such/log"], "--log-file no/such/log: No such file or directory. Name a file in a"),
    ],
)
def test_a_display_that_cannot_be_is_refused(options: list[str], words: str, job: Job, run: Run) -> None:
    done = run("export", "out", *options)
    assert (done.status, job.calls) == (2, [])
    assert done.err.startswith(f"exporter: {words}")


def test_each_line_off_a_terminal_is_dated(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.during = lambda observer: observer.warn("odd")
    job.result = AccessError("the token was refused\nRun again with another")
    assert main(["export", "out"]) == 4
    assert main(["export", "out", "--since", "x"]) == 2
    err = capsys.readouterr().err
    assert (are_dated(err), len(err.splitlines())) == (True, 4)


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_log_file_that_cannot_be_rotated_is_said_once(quiet: tuple[str, ...], job: Job, run: Run) -> None:
    for number in range(1, 6):
        Path(f"log.{number}/other").mkdir(parents=True)
    done = run("export", "out", "--log-file", "log", "--log-file-size", "10B", *quiet)
    assert (done.status, done.err.count("--log-file log: cannot be rotated or opened again: ")) == (0, 1)


def test_a_bar_that_cannot_be_drawn_is_lines(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.during = lambda observer: observer.progress(Snapshot(0.337, 10, 1000, 1, 2, 0, 0, 8, 1, 6.0))
    assert main(["export", "out", "--progress", "bar"]) == 0
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert are_dated(err)
    assert "progress" in err


def test_a_log_file_has_what_happens_the_report_and_what_failed(job: Job, run: Run) -> None:
    job.during = lambda observer: observer.warn("odd", number=3)
    assert "warning: odd number=3" in run("export", "out", "--log-file", "log").err
    assert run("export", "out", "--log-file", "log", "-q").err == ""
    job.result = AccessError("the token was refused")
    run("export", "out", "--log-file", "log")
    text = Path("log").read_text(encoding="utf-8")
    assert are_dated(text)
    assert undated(text).count("warning: odd number=3") == 3
    assert undated(text).count(f"started command=export destination={Path('out').absolute()} version=") == 3
    assert undated(text).count("✔ complete  12,345 conversations") == 2
    assert undated(text).endswith('error: failed reason="the token was refused" exit_status=4\n')
    assert Path("log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"withheld": ("agent",)}, 0),
        ({"changed": False}, 0),
        ({"state": "unproven", "unproven": 2}, 3),
        ({"quarantined_rows": 1}, 3),
        ({"state": "incomplete"}, 1),
    ],
)
def test_the_exit_status_tells_how_it_ended(changes: dict[str, object], status: int, job: Job, run: Run) -> None:
    job.result = summary_with(**changes)
    assert run("export", "out").status == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AccessError("the token was refused"), 4),
        (DestinationLockedError("another run holds out"), 5),
        (InterruptedExportError("interrupted; run again to resume"), 130),
    ],
)
def test_an_error_is_a_line_and_an_exit_status(error: Exception, status: int, job: Job, run: Run) -> None:
    job.result = error
    done = run("export", "out", "--json", "-v")
    assert (done.status, done.err) == (status, f"exporter: {error}\n")
    assert json.loads(done.out) == {"event": "failed", "reason": str(error), "exit_status": status}


def test_with_json_logs_the_error_and_the_summary_are_json_too(job: Job, run: Run) -> None:
    started, finished = map(json.loads, run("export", "out", "--log-format", "json").err.splitlines())
    job.result = AccessError("the token was refused")
    _, failed = map(json.loads, run("export", "out", "--log-format", "json").err.splitlines())
    assert (started["event"], started["command"], started["process"]) == ("started", "export", os.getpid())
    assert started["destination"] == finished["destination"] == str(Path("out").absolute())
    assert (finished["level"], finished["event"], finished["rows"]) == ("info", "finished", 12_345)
    assert (failed["level"], failed["event"], failed["exit_status"]) == ("error", "failed", 4)
    assert failed["reason"] == "the token was refused"


def test_no_traceback_reaches_a_user_unless_asked_for_and_then_without_what_errors_say(job: Job, run: Run) -> None:
    words = "a caller's words"
    try:
        raise KeyError(words)
    except KeyError as cause:
        group = ExceptionGroup("of tasks", [RuntimeError(f"Bearer {TOKEN}")])
        group.__cause__ = cause
        job.result = group
    done = run("export", "out")
    assert done.status == 1
    message = "exporter: unexpected ExceptionGroup; this is a defect, please report it with the output of -v\n"
    assert done.err == message
    verbose = run("export", "out", "-v").err
    assert verbose.startswith(message)
    for name in ("KeyError at", "ExceptionGroup at", "RuntimeError at", "test_cli.py"):
        assert name in verbose
    assert words not in verbose


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_exits_with_130(number: signal.Signals, job: Job, run: Run) -> None:
    job.during = lambda _: signal.raise_signal(number)
    done = run("export", "out")
    assert (done.status, done.err) == (130, "exporter: stopped; run the same command to go on\n")


def test_what_the_job_reports_is_shown_on_stderr(job: Job, run: Run) -> None:
    def report(observer: Observer) -> None:
        observer.note("commit", number=1)
        observer.warn("throttled")
        observer.progress(Snapshot(0.5, 10, 1000, 1, 2, 0, 0, 8, 1, 61.0))

    job.during = report
    done = run("export", "out")
    assert done.status == 0
    assert "throttled" in done.err and "percent=50.0" in done.err and "commit" not in done.err
    done = run("export", "out", "-v")
    assert done.status == 0
    assert "commit number=1" in done.err


def summarize(**changes: object) -> str:
    summary = summary_with(**changes)
    return "\n".join([*describe_summary(summary), *describe_reading(summary)])


def test_the_summary_tells_people_what_there_is_and_what_to_do_next() -> None:
    assert summarize() == (
        "✔ complete  12,345 conversations, from 2026-01-01 up to 2026-02-01 UTC (not included)\n"
        "  this run  12,345 new · 130 requests · 12 s\n"
        "  at        /data/out (31 files, 45.2 MB), generation 1,234\n"
        "  request   organization org_1 · filters channel=email · all fields · by day · tables conversations\n"
        "  query it  exporter help read\n"
        "  To look at it, paste into DuckDB:\n"
        "    SELECT created_date, status, count(*) AS conversations FROM "
        "read_parquet('/data/out/conversations/**/part-*.parquet', hive_partitioning = true) GROUP BY ALL ORDER BY ALL;"
    )


def test_the_summary_says_what_is_in_doubt() -> None:
    assert "  this run  nothing to do: all of it was there\n" in summarize(changed=False)
    assert summarize(state="unproven", unproven=2).startswith("! unproven  12,345 conversations")
    assert "  this run  7 new · 130 requests (3 slowed down) · 12 s" in summarize(new_rows=7, throttled=3)
    assert "  this run  7 new, 3 expired · " in summarize(new_rows=7, expired_rows=3)
    assert "2 timestamps may have more rows" in summarize(state="unproven", unproven=2)
    assert "kept as served, because they do not fit the columns: 7 rows;" in summarize(quarantined_rows=7)
    withheld = Protection(fingerprint="f" * 32, quarantine="withhold")
    assert "  withheld, with a keyed hash in their place, because they do not fit the columns: 7 rows;" in summarize(
        quarantined_rows=7, protection=withheld
    )
    assert "conversations:read_sensitive): agent, summary" in summarize(withheld=("agent", "summary"))
    assert "under `fields.partly_withheld`" in summarize(state="unproven", partly_withheld=2)
    assert "partly_withheld" not in summarize()
    assert "Run the same command again" in summarize(state="incomplete")
    assert "conversations, up to 2026-02-01 UTC (not included)\n" in summarize(range_start=None)
    by_the_clock = to_datetime(parse_timestamp("2026-11-28T11:10:00.979584Z"))
    assert "conversations, up to 2026-11-28 11:10 UTC\n" in summarize(range_start=None, range_end=by_the_clock)
    assert "DuckDB" not in summarize(rows=0, files=0)


def test_the_summary_says_why_there_is_less_than_was_expected() -> None:
    said = "--until 2026-03-01 UTC lies ahead; exported up to 2026-02-01 UTC, run again later for the rest."
    assert said in summarize(end_ahead=datetime(2026, 3, 1, tzinfo=UTC))
    nothing = "nothing in this range matches "
    both = Request(filters={"channel": "email", "agent_id": "nosuch"})
    assert f"{nothing}channel=email and agent_id=nosuch." in summarize(rows=0, files=0, request=both)
    blank = Request(filters={"colour": " ", "size": ""})
    assert f'{nothing}colour=" " and size="".' in summarize(rows=0, files=0, request=blank)
    for changes in ({}, {"rows": 0, "request": Request()}, {"rows": 0, "state": "incomplete"}):
        assert nothing not in summarize(**changes)


def test_the_hint_for_an_encrypted_export_leads_to_how_it_is_read() -> None:
    assert "DuckDB" not in summarize(key="d1")
    assert "exporter help encryption (with the key d1)" in summarize(key="d1")


def test_a_hint_at_all_files_is_not_given_where_older_ones_are_kept() -> None:
    assert "DuckDB" in summarize()
    assert "DuckDB" not in summarize(kept_files=2)
    assert "read those that the manifest names" in summarize(kept_files=2)
    for kind in ("Delta", "Iceberg"):
        assert "DuckDB" not in summarize(table_kind=kind.lower())
        assert f"read the {kind} table, not the files" in summarize(table_kind=kind.lower(), kept_files=2)


STATUS: dict[str, Any] = {
    "erasures": None,
    "protection": None,
    "encryption": None,
    "table_format": None,
    "committed_at": to_datetime(1_000_000),
    "updates_since": to_datetime(500_000),
    "last_run": None,
    "state": "incomplete",
    "generation": 3,
    "rows": 5,
    "files": 1,
    "bytes": 2000,
    "range_start": None,
    "range_end": datetime(2026, 2, 1, tzinfo=UTC),
    "covered_share": 0.75,
    "gaps": (Period(None, datetime(2026, 1, 1, tzinfo=UTC)),),
    "holder": "pid 7 on somewhere",
    "turns": None,
    "organization": "org_sandbox",
    "request": Request(filters={"status": "failed", "custom_metadata": '{"a": 1}'}, fields=("id", "status")),
    "acceptances": (),
    "unended_run": None,
    "unproven": 0,
    "unproven_rows": 0,
    "unproven_seconds": (),
    "quarantined_rows": 0,
    "withheld": (),
    "partly_withheld": 0,
    "new_doubts": 0,
    "unsettled": False,
    "remains": False,
    "file_mode": "private",
    "hydrated": Hydrated(),
    "retention": {},
    "expired_before": {},
    "recordings": None,
    "exit_status": 1,
    "reason": "a part of the range is missing",
}


def test_status_tells_how_far_an_export_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status = msgspec.defstruct("Status", list(STATUS))(**STATUS)

    async def read(
        destination: Path, *, check: bool, updated_after: datetime | None, retention_seconds: float | None
    ) -> msgspec.Struct:
        assert (destination, check, updated_after, retention_seconds) == (Path("out"), False, None, None)
        return status

    module = ModuleType("exporter.jobs.status")
    module.status = read  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exporter.jobs.status", module)
    monkeypatch.delenv("ANYREACH_TOKEN")
    assert run("status", "out") == (
        0,
        "out  locked by pid 7 on somewhere\n"
        "  state     incomplete: 5 conversations, 75 % of the range up to 2026-02-01 UTC (not included)\n"
        "  files     1 of 2.0 kB, at generation 3\n"
        "  request   organization org_sandbox · "
        'filters status=failed custom_metadata="{\\"a\\": 1}" · fields id, status'
        " · by day · tables conversations\n"
        "  missing   1 interval, the oldest up to 2026-01-01 UTC (--json lists them)\n",
        "",
    )
    figures = json.loads(run("status", "out", "--json").out)
    assert figures["covered_share"] == 0.75
    assert figures["gaps"] == [{"start": None, "end": "2026-01-01T00:00:00Z"}]
    assert (figures["range_end"], figures["committed_at"]) == ("2026-02-01T00:00:00Z", "1970-01-01T00:00:01Z")
    assert (figures["organization"], figures["fields"]) == ("org_sandbox", ["id", "status"])
    assert figures["filters"] == {"status": "failed", "custom_metadata": '{"a": 1}'}
    assert (figures["tables"], figures["partition_by"]) == (["conversations"], "day")
    assert "request" not in figures


@pytest.mark.parametrize(
    "partition",
    [None, "created_date=2026-01-05", "created_hour=2026-01-05T07", "created_week=2026-W02", "created_month=2026-01"],
)
@pytest.mark.parametrize(
    "name",
    ["plain", "it's", "a [b] *?", "{a,b}", 'c"d', "nl\nx", "100%", "a%20b", "x#y", "ü–ñ", "a=b", "[", "$H"],
)
def test_the_query_works_when_pasted(partition: str | None, name: str, tmp_path: Path) -> None:
    directory = tmp_path / name
    parts = directory / "conversations" / (partition or "")
    parts.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["1", "2"], "status": ["failed", "failed"]}), parts / "part-1.parquet")
    text = summarize(
        manifest=str(directory / "_manifest.json"), partition_key=partition and partition.partition("=")[0]
    )
    rows = duckdb.execute(text[text.rindex("SELECT") :]).fetchall()
    assert len(rows) == 1
    assert rows[0][-2:] == ("failed", 2)


@pytest.mark.parametrize(
    "above", ["channel=voice", "Status=x", "created_date=2020-01-01", "a/status=y/b", "text=z", "st%61tus=w"]
)
def test_directories_that_are_taken_for_columns_are_named_and_the_query_is_right(above: str, tmp_path: Path) -> None:
    directory = tmp_path / above / "out"
    parts = directory / "conversations" / "created_date=2026-01-05"
    parts.mkdir(parents=True)
    table = pa.table({"id": ["1", "2"], "status": ["failed", "ended"], "channel": ["text", "email"]})
    pq.write_table(table, parts / "part-1.parquet")
    text = summarize(manifest=str(directory / "_manifest.json"), partition_key="created_date")
    taken = next(part for part in above.split("/") if "=" in part)
    assert f"{taken} in its path is taken for every row's value by readers of hive partitions" in text
    assert sorted(duckdb.execute(text.splitlines()[-1]).fetchall()) == [("ended", 1), ("failed", 1)]


def test_other_directories_with_an_equals_sign_are_nobody_s_columns(tmp_path: Path) -> None:
    text = summarize(manifest=str(tmp_path / "region=eu" / "_manifest.json"))
    assert "hive_partitioning = true" in text
    assert "is taken for" not in text


@pytest.mark.parametrize("name", ["back\\slash", "caf\udce9"])
def test_no_query_is_given_that_finds_nothing(name: str, tmp_path: Path) -> None:
    text = summarize(manifest=str(tmp_path / name / "_manifest.json"))
    assert text.endswith("DuckDB finds no file below a path with a backslash, or with a name that is not UTF-8.")


def test_the_summary_names_the_directory_that_a_run_is_in(tmp_path: Path) -> None:
    text = summarize(manifest="_manifest.json", state="unproven", unproven=2, partly_withheld=2)
    assert f"read_parquet('{tmp_path}/conversations/**/part-*.parquet'" in text
    assert "  exporter reread .\n" in text
    assert "  exporter reread . --withheld\n" in text
    assert "  exporter audit . --repair\n" in text


@pytest.mark.parametrize("arguments", [["--", "-dash"], ["./-dash"], ["--json", "--", "-dash"]])
def test_a_destination_may_begin_with_a_dash(arguments: list[str], job: Job, run: Run) -> None:
    assert run("export", *arguments).status == 0
    assert job.calls[0][0] == Path("-dash")


@pytest.mark.parametrize("name", ["-dash", "a b"])
def test_what_the_summary_advises_is_taken_for_what_it_is(name: str, run: Run) -> None:
    text = summarize(manifest=str(Path(name) / "_manifest.json"), state="unproven", unproven=2)
    (advised,) = [line.strip() for line in text.splitlines() if line.strip().startswith("exporter audit")]
    done = run(*shlex.split(advised)[1:])
    assert (done.status, done.err) == (
        2,
        f"exporter: {name}: no export here; check the path, or run exporter export first\n",
    )


def test_a_summary_of_two_tables_says_that_they_are_two() -> None:
    text = summarize(turns=3)
    assert "read conversations/ and turns/ separately" in text
    assert "SELECT created_date, role, count(*) AS turns FROM read_parquet('/data/out/turns/**/part-*.parquet'" in text


def test_version(run: Run) -> None:
    for words in ("--version", "-V", "version"):
        assert run(words) == (0, f"exporter {__version__}\n", "")


def test_help_loads_neither_arrow_nor_an_http_client_nor_a_display() -> None:
    heavy = ["pyarrow", "aiohttp", "rich", "structlog", "asyncio", "anyio"]
    code = (
        "import sys; from exporter.cli import main; status = main(['export', '--help']); "
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_the_module_runs_and_hands_on_the_exit_status() -> None:
    done = run_process("export", "out", "--page-size", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert undated(done.stderr) == "exporter: --page-size 0: must be from 1 to 1000\n"


def test_who_leaves_stderr_does_not_change_the_exit_status() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as broken:
        command = [sys.executable, "-m", "exporter", "export", "out", "--page-size", "0"]
        assert subprocess.run(command, stderr=broken, check=False).returncode == 2


def test_a_reader_who_leaves_early_causes_no_traceback_and_no_failure() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as broken:
        done = subprocess.run(
            [sys.executable, "-m", "exporter", "--version"],
            stdout=broken,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sandbox_says_how_to_reach_it_and_ends_with_ctrl_c() -> None:
    command = [sys.executable, "-m", "exporter", "sandbox", "--port", "0", "--rows", "10", "--behaviour", "page_cap=3"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert words[0] == "export"
    assert words[1].startswith("ANYREACH_BASE_URL=http://127.0.0.1:")
    assert words[2].startswith("ANYREACH_TOKEN=")
    assert re.search(r"Recordings are served at http://127\.0\.0\.1:\d+, on links", errors)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_the_commands_that_the_sandbox_announces_work_when_they_are_copied(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exporter", "sandbox", "--port", "0", "--rows", "10"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        environment = dict(word.split("=", 1) for word in process.stdout.readline().split()[1:])
        announced = "".join(process.stderr.readline() for _ in range(3))
        said = []
        for typed in re.findall("`exporter (.+?)`", announced):
            done = subprocess.run(
                [sys.executable, "-m", "exporter", *typed.replace("DEST", str(tmp_path / "tried")).split()],
                env=os.environ | environment,
                capture_output=True,
                text=True,
                check=True,
            )
            said.append(done.stdout.splitlines()[0])
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    exported, kept = said
    assert exported.startswith("✔ complete  10 conversations")
    number = re.fullmatch(r"✔ kept  (\d+) of \1 recordings", kept)
    assert number is not None and int(number[1]) > 1


def test_a_sandbox_that_lives_says_what_it_served_and_what_changed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exporter", "sandbox", "--port", "0", "--rows", "10", "--live", "90/s", "--log"]
    log = tmp_path / "log"
    # A pipe that nobody reads is full after some 300 requests, and would stop the sandbox.
    with log.open("w") as told, started(command, stdout=subprocess.PIPE, stderr=told, text=True) as process:
        assert process.stdout is not None
        environment = dict(word.split("=", 1) for word in process.stdout.readline().split()[1:])
        runs: list[dict[str, int]] = []
        # A range ends at a whole second of the server, and at first that may be the one in which it began.
        while len(runs) < 10 and (not runs or runs[-1]["rows"] <= 10):
            done = subprocess.run(
                [sys.executable, "-m", "exporter", "sync", str(tmp_path / "tried"), "--lag", "0", "--json"],
                env=os.environ | environment,
                capture_output=True,
                check=True,
                timeout=300,
            )
            runs.append(json.loads(done.stdout))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    lines = undated(log.read_text()).splitlines()
    assert any(line.startswith("At 90/s, conversations are created, change") for line in lines)
    requests = [line for line in lines if " GET /" in line]
    assert all(environment["ANYREACH_TOKEN"] not in line for line in requests)
    assert re.fullmatch(r"served \d+ requests; [\d,]+ conversations created, [\d,]+ changed, [\d,]+ deleted", lines[-1])
    served, created, changed, deleted = (int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", lines[-1]))
    assert served == len(requests) == sum(run["requests"] for run in runs)
    assert created > changed > deleted > 0
    assert runs[-1]["rows"] > 10


def test_a_sandbox_of_several_organizations_names_their_tokens_and_lets_each_live(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exporter", "sandbox", "--port", "0", "--rows", "5", "--organizations", "3"]
    with started([*command, "--live", "90/s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        environment = dict(word.split("=", 1) for word in process.stdout.readline().split()[1:])
        told = [process.stderr.readline() for _ in range(5)]
        key = environment["ANYREACH_TOKEN"] + "_3"
        rows = 5
        while rows <= 5:
            done = subprocess.run(
                [sys.executable, "-m", "exporter", "sync", str(tmp_path / "tried"), "--lag", "0", "--json"],
                env=os.environ | environment | {"ANYREACH_TOKEN": key},
                capture_output=True,
                check=True,
                timeout=300,
            )
            rows = json.loads(done.stdout)["rows"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    keys = "org_sandbox_2 … org_sandbox_3 are ak_sandbox_2 … ak_sandbox_3."
    assert told[1].rstrip().endswith(f"is for org_sandbox; those of {keys}")
    assert undated(told[4]).startswith("At 90/s, in each organization, conversations are created")


def test_no_word_of_a_library_reaches_the_terminal_of_a_sandbox() -> None:
    program = (
        "import asyncio, logging\n"
        "from exporter import sandbox\n"
        "from exporter.cli import main\n"
        "async def run(*_, **__):\n"
        "    logging.getLogger('aiohttp.server').error('Unhandled exception', exc_info=asyncio.InvalidStateError())\n"
        "sandbox.run_sandbox = run\n"
        "main(['sandbox', '--port', '0'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("rate", ["5", "fast", "5/year"])
def test_the_sandbox_refuses_what_is_no_rate(run: Run, rate: str) -> None:
    done = run("sandbox", "--port", "0", "--live", rate)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"exporter: --live {rate!r}: must be a rate such as 5/s")


def test_the_sandbox_refuses_switches_it_does_not_have(run: Run) -> None:
    done = run("sandbox", "--behaviour", "mood=bad")
    assert done.status == 2
    assert done.err.startswith("exporter: --behaviour mood=bad: there is no such switch.")


def test_the_demo_asks_for_the_same_range_whenever_it_runs(job: Job, run: Run) -> None:
    assert run("demo", "--rows", "5", "--days", "3").status == 0
    assert run("demo", "--rows", "5", "--days", "3").status == 0
    first, second = (asked for _, asked, _, _ in job.calls)
    assert first == second
    assert first.since is not None and first.until is not None
    assert format_instant(first.since).endswith("T00:00:00Z")
    assert job.calls[0][0] == Path("demo-export")
    assert job.calls[0][2].base_url.startswith("http://127.0.0.1:")


def test_a_status_without_a_beginning_shows_no_share() -> None:
    found = Status(
        state="incomplete",
        generation=1,
        rows=0,
        files=0,
        bytes=0,
        range_start=None,
        range_end=to_datetime(DAY),
        covered_share=None,
        gaps=(Period(None, to_datetime(DAY)),),
        quarantined_rows=0,
        unproven=0,
        runs=1,
        committed_at=to_datetime(0),
        updates_since=None,
        holder=None,
        last_run=None,
    )
    said = "\n".join(describe_status(found, Path("out")))
    assert "  missing   1 interval, the oldest up to 1970-01-02 UTC" in said
    assert "%" not in said


def test_a_status_does_not_call_a_run_cut_short_that_is_at_work() -> None:
    make = msgspec.defstruct("Status", list(STATUS))
    found = make(**{**STATUS, "unsettled": True, "last_run": None, "holder": None})
    assert "a run was cut short" in "\n".join(describe_status(cast(Any, found), Path("out")))
    working = make(**{**STATUS, "unsettled": True, "last_run": None, "holder": "run 1"})
    assert "a run was cut short" not in "\n".join(describe_status(cast(Any, working), Path("out")))


def test_a_status_says_where_tables_are() -> None:
    make, catalog = msgspec.defstruct("Status", list(STATUS)), {"catalog": "prod", "namespace": "calls"}
    kept = KeptTables(kind="iceberg", **catalog, places={"conversations": "out/_iceberg/conversations"})
    found = cast(Any, make(**{**STATUS, "table_format": kept}))
    line = "  tables    Iceberg, by the catalog prod, namespace calls: out/_iceberg/conversations"
    assert line in [*describe_status(found, Path("out"))]
    figures = {"kind": "iceberg", **catalog, "places": {"conversations": "out/_iceberg/conversations"}}
    assert status_figures(found)["table_format"] == figures


def test_a_status_says_that_rows_may_remain() -> None:
    found = msgspec.defstruct("Status", list(STATUS))(**{**STATUS, "remains": True})
    assert "  remains   files may still lie there" in "\n".join(describe_status(cast(Any, found), Path("out")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_modules_are_loaded_ends_it_without_a_traceback(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\nimport time\ntime.sleep(30)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "status", "x"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_status_says_how_the_last_run_ended_and_how_current_the_export_is() -> None:
    make = msgspec.defstruct("Status", list(STATUS))
    record = msgspec.defstruct("Record", ["command", "ended_at", "exit_status", "message", "error"])

    def said(command: str, ended_at: str, *rest: object, **changes: object) -> list[str]:
        run = record(command, to_datetime(parse_timestamp(ended_at)), *rest)
        found = make(**{**STATUS, "gaps": (), "state": "complete", "last_run": run, **changes})
        return list(describe_status(cast(Any, found), Path("out")))

    moments = {"started_at": to_datetime(0), "ended_at": to_datetime(120_000)}
    last = msgspec.defstruct("Record", list(moments))(**moments)
    assert status_figures(cast(Any, make(**{**STATUS, "last_run": last})))["last_run"] == {
        "started_at": "1970-01-01T00:00:00Z",
        "ended_at": "1970-01-01T00:00:00.120Z",
    }
    interrupted = said("export", "2026-11-28T11:13:05.123Z", 130, "stopped: run again", "InterruptedExportError")
    assert interrupted[-1] == "  last run  export, interrupted at 2026-11-28 11:13:05 UTC (130)"
    assert "  current   all changes up to 1970-01-01 UTC" in interrupted
    assert said("sync", "2026-11-28T11:13:00Z", 4, "refused\nadvice", "AccessError", holder=None)[::4] == [
        "out",
        "  current   all changes up to 1970-01-01 UTC",
    ]
    failed = said("sync", "2026-11-28T11:13:00Z", 4, "refused\nadvice", "AccessError")[-1]
    assert failed == "  last run  sync, ended at 2026-11-28 11:13 UTC with exit status 4: refused"


def test_a_signal_says_what_is_kept(job: Job, run: Run) -> None:
    stopped = InterruptedExportError("interrupted")
    stopped.kept_rows, stopped.kept_share = 20_497, 0.337
    job.result = stopped
    assert run("export", "slow") == (
        130,
        "",
        "exporter: stopped: 20,497 conversations (33 %) are kept in slow; run the same command to go on\n",
    )


def test_a_sync_that_changed_nothing_says_so_in_two_lines() -> None:
    synced = SyncResult(
        summary=summary_with(organization=None),
        inserted=0,
        updated=0,
        removed=0,
        unchanged=77,
        rewritten=0,
        open_rows=3,
        updates_since_before=to_datetime(0),
        updates_since=to_datetime(parse_timestamp("2026-11-28T11:10:00.979584Z")),
    )
    assert list(describe_synced(synced)) == [
        "✔ up to date  12,345 conversations, nothing has changed; 77 read again and unchanged",
        "  all changes up to 2026-11-28 11:10 UTC · at /data/out, generation 1,234 · 130 requests · 12 s",
    ]
    told = list(describe_synced(msgspec.structs.replace(synced, updated=2, rewritten=1)))
    assert told[0].startswith("✔ complete  12,345 conversations")
    assert told[1] == "  this run  2 updated, 77 read again and unchanged; 1 file rewritten · 130 requests · 12 s"
    assert told[2] == "  current   all changes up to 2026-11-28 11:10 UTC"
    doubtful = msgspec.structs.replace(synced, summary=summary_with(state="unproven", unproven=1))
    assert any("exporter reread" in line for line in describe_synced(doubtful))


def test_help_is_never_dated_and_a_quiet_demo_says_one_line(tmp_path: Path) -> None:
    helped = run_process()
    assert helped.returncode == 2
    assert helped.stderr.startswith("Export every conversation of an organization")
    shown = run_process("demo", str(tmp_path / "demo"), "--rows", "40", "-q")
    assert (shown.returncode, shown.stderr, shown.stdout.count("\n")) == (0, "", 1)
