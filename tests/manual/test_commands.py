"""Commands do what the manual says: its examples, the keys of its JSON, its exit statuses."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec

from exporter import errors
from exporter.cli.about import ABOUT
from exporter.cli.runner import SUMMARY_KEYS
from exporter.cli.statuses import STATUSES
from exporter.contract import MUTABLE_FILTERS, OPEN_STATUSES
from exporter.jobs.reconcile_days import Reason
from exporter.sandbox import gate
from exporter.schedule.sample import most_differing
from exporter.verification.problems import Problem
from tests.toolkit.manual import PAGES, in_code, run_shell


def keys_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from keys_of(inside)
    elif isinstance(value, list) and value:
        yield from keys_of(value[0])


def test_syncing(api: str, tmp_path: Path) -> None:
    page = PAGES["sync"]
    for state in ("first", "again"):
        done = run_shell(
            page.command_holding("exporter sync").strip() + " --json",
            tmp_path,
            ANYREACH_TOKEN=gate.TOKEN,
            ANYREACH_BASE_URL=api,
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert figures["inserted"] == (300 if state == "first" else 0)
        assert (figures["rows"], figures["updated"], figures["rewritten"]) == (300, 0, 0)
    assert figures.keys() - set(SUMMARY_KEYS) == set(page.keys_of_json("a sync"))
    named = {name for name in in_code(page.prose) if name.startswith("--")}
    changing = {f"--{name.replace('_', '-')}" for name in MUTABLE_FILTERS}
    assert changing <= named
    assert set(OPEN_STATUSES) <= set(in_code(page.prose))


def test_auditing(api: str, tmp_path: Path) -> None:
    page = PAGES["audit"]
    variables = {"ANYREACH_TOKEN": gate.TOKEN, "ANYREACH_BASE_URL": api}
    assert run_shell("exporter export calls", tmp_path, **variables).returncode == 0
    done = run_shell(page.command_holding("exporter audit"), tmp_path, **variables)
    assert (done.returncode, done.stdout.count("the same: ")) == (0, 3)
    figures = json.loads(run_shell("exporter audit calls --json --sample 50% --repair", tmp_path, **variables).stdout)
    assert set(page.keys_of_json("an audit")) == set(keys_of({**figures, "ids": None}))
    assert {in_code(kind)[0] for kind, _ in page.table_headed("it says")} == figures["ids"].keys()
    (example,) = [text for text in in_code(page.section("A sample")) if "windows differ" in text]
    differing, looked_at, at_most, windows = [int(number) for number in re.findall(r"(?<!\S)\d+(?!\S)", example)]
    assert most_differing(windows, looked_at, differing) == at_most
    assert f"({at_most / windows:.1%})" in example
    statuses = {int(status) for status, _ in page.table_headed("status of an audit")}
    assert statuses == STATUSES["audit"].keys() - {errors.InterruptedExportError.exit_status}


def test_reconciling(api: str, tmp_path: Path) -> None:
    page = PAGES["reconcile"]
    variables = {"ANYREACH_TOKEN": gate.TOKEN, "ANYREACH_BASE_URL": api}
    assert run_shell("exporter export calls", tmp_path, **variables).returncode == 0
    done = run_shell("exporter reconcile calls --json", tmp_path, **variables)
    figures = json.loads(done.stdout)
    assert done.returncode == 0 and figures["explained"]
    assert set(page.keys_of_json("a comparison")) == set(keys_of(figures))
    assert [in_code(reason)[0] for reason, *_ in page.table_headed("reason")] == list(get_args(Reason))
    statuses = {int(status) for status, _ in page.table_headed("status of a comparison")}
    assert statuses == STATUSES["reconcile"].keys() - {errors.InterruptedExportError.exit_status}


def test_reading_again(api: str, tmp_path: Path) -> None:
    page = PAGES["reread"]
    variables = {"ANYREACH_TOKEN": gate.TOKEN, "ANYREACH_BASE_URL": api}
    assert run_shell("exporter export calls", tmp_path, **variables).returncode == 0
    done = run_shell(page.command_holding("exporter reread"), tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    figures = json.loads(run_shell("exporter reread calls --json", tmp_path, **variables).stdout)
    changes = {key: value for key, value in figures.items() if key not in SUMMARY_KEYS}
    assert set(page.keys_of_json("a reread")) == set(keys_of(changes))


def test_verifying(demo: Path, tmp_path: Path) -> None:
    page = PAGES["verify"]
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    done = run_shell(page.command_holding("exporter verify"), tmp_path)
    assert (done.returncode, done.stdout.count("sound and complete; 2,000 conversations")) == (0, 3)
    figures = run_shell("exporter verify calls --json", tmp_path).stdout
    problem = {field.name for field in msgspec.structs.fields(Problem)}
    assert set(page.keys_of_json("a verification")) == {*json.loads(figures), *problem}
    statuses = {int(status) for status, _ in page.table_headed("exit status")}
    assert statuses == STATUSES["verify"].keys() - {errors.InterruptedExportError.exit_status}


def test_compacting(demo: Path, tmp_path: Path) -> None:
    page = PAGES["compact"]
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    done = run_shell(page.command_holding("exporter compact"), tmp_path)
    assert (done.returncode, done.stdout.count("nothing to merge: 2,000 conversations")) == (0, 1)
    figures = run_shell("exporter compact calls --json", tmp_path).stdout
    assert page.keys_of_json("a compaction") == list(json.loads(figures))


def test_the_status(demo: Path, tmp_path: Path) -> None:
    page = PAGES["resume"]
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    command = page.command_holding("exporter status").strip()
    assert run_shell(command, tmp_path).returncode == 0
    figures = run_shell(f"{command} --json", tmp_path).stdout
    assert page.keys_of_json("a status") == list(json.loads(figures))


def test_exit_statuses() -> None:
    def statuses(kind: type[errors.ExporterError]) -> set[int]:
        return {kind.exit_status}.union(*map(statuses, kind.__subclasses__()))

    # No error stands for these two: everything was read.
    finished = {0, 3}
    described = [int(status) for status, _ in PAGES["exit-statuses"].table_headed("status")]
    assert described == sorted(statuses(errors.ExporterError) | finished)
    by_command = PAGES["exit-statuses"].table_headed("command")
    assert [(in_code(command)[0], int(status), words) for command, status, words in by_command] == [
        (command, status, words) for command, meanings in STATUSES.items() for status, words in meanings.items()
    ]
    assert {*described} >= {status for meanings in STATUSES.values() for status in meanings}
    assert STATUSES.keys() == ABOUT.keys()


def test_accepting(demo: Path, tmp_path: Path) -> None:
    page = PAGES["accept"]
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    done = run_shell(page.command_holding("exporter accept"), tmp_path)
    assert (done.returncode, done.stdout) == (0, 2 * "nothing to accept: the export is complete\n")
    figures = json.loads(run_shell("exporter accept calls --json", tmp_path).stdout)
    inside = {"start", "end", "rows", "reason", "path", "at", "by", "note"}
    assert set(page.keys_of_json("an acceptance")) == {*figures} | inside
    checked = run_shell("exporter status calls --check && exporter status calls --max-age 36500d", tmp_path)
    assert checked.returncode == 0, checked.stderr
    late = run_shell("exporter status calls --max-age 0s", tmp_path)
    assert (late.returncode, "too old: it may lack what has changed since" in late.stderr) == (1, True)
    assert {status for status, _ in PAGES["resume"].table_headed("status of a check")} == {"0", "1", "3", "6"}
