"""Tests what a check prints, for people and for programs, and that it takes the name of an entry."""

import json
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.check import described
from exporter.jobs.check_result import Finding


def test_a_finding_of_several_lines_stays_in_its_column() -> None:
    first, second = described(Finding(name="api", grade="wrong", what="one\n  two", exit_status=1))
    assert first == "  wrong      api           one"
    assert second == f"{'':27}two"


def test_an_entry_of_a_config_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ANYREACH_TOKEN", raising=False)
    file = tmp_path / "exporter.toml"
    acme = 'destination = "calls"\nmetrics_file = "nowhere/a.prom"\nrecordings = true\n'
    file.write_text(f'[exports.acme]\n{acme}[exports.acme.hooks]\non_failure = ["/nowhere/page"]\n')
    assert main(["check", "acme", "--config", str(file), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["destination"], told["exit_status"]) == (str(tmp_path / "calls"), 2)
    grades = {each["name"]: each["grade"] for each in told["findings"]}
    assert (grades["token"], grades["api"], grades["write"], grades["hooks"]) == ("wrong", "not tried", "ok", "warning")
    assert (grades["metrics"], grades["recordings"]) == ("warning", "unknown")
    (tmp_path / "nowhere").mkdir()
    assert main(["check", "acme", "--config", str(file)]) == 2
    shown = capsys.readouterr()
    assert "  wrong      token         no token: set ANYREACH_TOKEN" in shown.out
    assert shown.out.endswith("1 check of 26 is wrong: a run ends with 2\n"), shown.out
    assert not (tmp_path / "calls").exists()
