"""Tests `exporter report` and `make_report`: where the page goes, and what is said of it."""

import json
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import boto3
import msgspec
import pytest

import exporter
from exporter.cli import main
from exporter.contract import DAY, format_instant
from exporter.errors import InterruptedExportError, UsageError
from exporter.report import figures
from exporter.report.figures import BY_COLUMNS
from exporter.report.model import Absent, Report
from exporter.report.page import FIRST
from exporter.report.scope import Scope
from exporter.report.svg import check_installed
from exporter.sandbox import make_conversations
from tests.jobs.made import SINCE, UNTIL, make_export, make_exports
from tests.toolkit.clouds import S3


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_exports(tmp_path_factory.mktemp("exports"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the pictures, which take a second."""
    monkeypatch.setattr("exporter.report.blocks.draw", lambda *_: "")


@pytest.mark.usefixtures("undrawn")
def test_it_writes_a_page_and_says_where(exports: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(exports["complete"])]) == 0
    first, second = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert first == "report of 300 conversations written, to report.html"
    assert second.startswith("  Complete: all 300 conversations from ")
    page = Path("report.html").read_bytes()
    assert page.startswith(FIRST.encode())
    assert main(["report", str(exports["complete"]), "-q"]) == 0
    assert Path("report.html").read_bytes() == page


@pytest.mark.usefixtures("undrawn")
def test_it_writes_a_page_to_stdout(exports: dict[str, Path], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["report", str(exports["complete"]), "-o", "-"]) == 0
    shown = capfdbinary.readouterr()
    assert shown.out.startswith(FIRST.encode())
    assert shown.out.endswith(b"</html>\n")
    assert b"report of 300 conversations written\n" in shown.err
    assert [*Path().iterdir()] == []


@pytest.mark.usefixtures("undrawn")
def test_its_json_has_the_figures(exports: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(exports["complete"]), "--json", "--by", "status"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.pop("output") == "report.html"
    report = exporter.blocking.make_report(exports["complete"], by="status")
    assert figures == json.loads(msgspec.json.encode(report))
    assert (figures["conversations"], figures["by"], figures["trust"]["state"]) == (300, "status", "complete")
    assert figures["turns"]["reason"]


@pytest.mark.usefixtures("undrawn")
def test_a_doubt_is_no_failure_and_nobody_can_miss_it(
    exports: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(exports["odd"]), "--quiet"]) == 0
    assert "In doubt: " in capsys.readouterr().err
    page = Path("report.html").read_text(encoding="utf-8")
    assert "8\N{NO-BREAK SPACE}rows were put in quarantine" in page
    assert "exporter status DEST" in page


@pytest.mark.usefixtures("undrawn")
def test_a_narrow_report_says_so(exports: dict[str, Path]) -> None:
    until = format_instant(UNTIL - 2 * DAY)
    assert main(["report", str(exports["complete"]), "--until", until, "--timezone", "asia/kolkata", "-q"]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "times in Asia/Kolkata" in page
    assert "The counts and charts are about conversations from" in page


def test_an_interval_beside_the_export_is_refused(exports: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(exports["complete"]), "--since", "2030"]) == 2
    assert "nothing to report" in capsys.readouterr().err
    assert [*Path().iterdir()] == []


def test_help_names_the_fields_that_name_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(BY_COLUMNS[:-1])} or {BY_COLUMNS[-1]}" in shown


@pytest.mark.parametrize("package", ["vl_convert", "duckdb"])
def test_a_missing_package_is_named(
    package: str, exports: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["report", str(exports["complete"])]) == 2
    # Whoever installs what it says needs no second try.
    install = "pip install duckdb fsspec" + (" vl-convert-python" if package == "vl_convert" else "")
    assert install in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_python_has_the_same_figures(exports: dict[str, Path]) -> None:
    async def both() -> tuple[Report, Report]:
        written = await exporter.make_report(exports["complete"], "calls.html", by="status")
        return written, await exporter.make_report(exports["complete"], by="status")

    written, only = anyio.run(both)
    assert written == only
    assert [each.name for each in Path().iterdir()] == ["calls.html"]
    assert exporter.blocking.make_report(exports["complete"], by="status") == only


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"by": "user_id"}, "by 'user_id': must be agent_id"),
        ({"timezone": "Berlin"}, "timezone 'Berlin': no such time zone"),
        ({"since": "soon"}, "since 'soon': not a time"),
        ({"output": "notes"}, "output notes: is there already"),
    ],
)
def test_python_names_keywords(exports: dict[str, Path], options: dict[str, Any], reason: str) -> None:
    Path("notes").touch()
    with pytest.raises(UsageError, match=reason):
        exporter.blocking.make_report(exports["complete"], **options)


@pytest.mark.usefixtures("undrawn")
def test_an_export_without_rows(tmp_path: Path) -> None:
    root = make_export(tmp_path / "empty", [], tables=("conversations", "turns"))
    report = exporter.blocking.make_report(root, "empty.html")
    assert report.conversations == 0
    assert isinstance(report.volume, Absent)
    assert "Complete, and empty: there is no conversation" in Path("empty.html").read_text(encoding="utf-8")


def test_one_conversation_is_drawn(tmp_path: Path) -> None:
    check_installed()
    root = make_export(tmp_path / "tiny", make_conversations(1, SINCE, UNTIL), tables=("conversations", "turns"))
    report = exporter.blocking.make_report(root, "tiny.html")
    page = Path("tiny.html").read_text(encoding="utf-8")
    assert report.conversations == 1
    assert "Complete: the only conversation" in page
    assert "NaN" not in page


def test_a_report_that_is_given_up_ends_its_query(exports: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), list[str]()

    def count(scope: Scope, *_: object) -> None:
        began.set()
        try:
            # DuckDB would take minutes for this.
            scope.query.fetch("SELECT sum(a.range) FROM range(1000000) a, range(1000000) b WHERE a.range > b.range")
        except InterruptedExportError as error:
            ended.append(str(error))
            raise

    monkeypatch.setattr(figures, "_make", count)

    async def give_up() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(exporter.make_report, exports["complete"]))
            await anyio.to_thread.run_sync(began.wait)
            group.cancel_scope.cancel()

    anyio.run(give_up)
    assert ended == ["stopped: the query was interrupted"]


@pytest.mark.usefixtures("undrawn")
def test_an_export_in_an_object_store(
    exports: dict[str, Path], s3: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("reported")
    bucket = boto3.resource("s3", endpoint_url=s3.environment["AWS_ENDPOINT_URL_S3"]).Bucket("reported")
    for file in exports["complete"].rglob("*"):
        if file.is_file():
            bucket.upload_file(str(file), f"calls/{file.relative_to(exports['complete'])}")
    assert main(["report", "s3://reported/calls", "--json"]) == 0
    far = json.loads(capsys.readouterr().out)
    near = json.loads(msgspec.json.encode(exporter.blocking.make_report(exports["complete"])))
    assert far.pop("output") == "report.html"
    assert far.pop("destination") == "s3://reported/calls"
    assert near.pop("destination") == "complete"
    assert far == near
