"""The config file that the manual shows is one, and its tables of keys are those that a file may have."""

import json
from pathlib import Path

import pytest

import exporter
from exporter.cli import main
from exporter.errors import UsageError
from exporter.options.config import load_config
from exporter.options.config_keys import ALTERNATIVES
from exporter.options.config_layers import KEYS, SECTIONS, SPEC_KEYS
from tests.toolkit.manual import PAGES, in_code

PAGE = PAGES["config"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (text,) = PAGE.in_language("toml")
    path = tmp_path / "exporter.toml"
    path.write_text(text)
    return path


def test_the_file_names_three_exports(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(file, {"GLOBEX_ORGANIZATION": "org_1"})
    assert [config.entry(name).command for name in config.names] == ["sync", "sync", "export"]
    assert {*config.entry("acme").options} == {"token_file", "max_rps", "channel", "tables", "since"}
    assert exporter.load_config(file, "acme")["acme"] == config.entry("acme").spec
    monkeypatch.setenv("GLOBEX_ORGANIZATION", "org_1")
    assert [*exporter.load_config(str(file))] == ["acme", "globex", "initech-2025"]
    monkeypatch.delenv("GLOBEX_ORGANIZATION")
    with pytest.raises(UsageError, match=r"exports\.globex\.org_id: the environment variable GLOBEX_ORGANIZATION"):
        exporter.load_config(file)
    with pytest.raises(UsageError, match="path: must be a path or a text, not int"):
        exporter.load_config(3)  # type: ignore[arg-type]


def test_a_mistake_is_shown_as_the_manual_says(file: Path) -> None:
    (shown,) = PAGE.in_language("text")
    file.write_text('[defaults]\ndestination = "a/${NAME}"\n\n\n[exports.acme]\n\npagesize = 3\n')
    with pytest.raises(UsageError) as error:
        load_config(Path("exporter.toml"), {})
    assert str(error.value) == shown.strip()


def test_the_tables_name_all_tables_and_keys() -> None:
    tables = [in_code(row[0])[0] for row in PAGE.table_headed("table", "What stands in it")]
    assert {table.strip("[]").partition(".")[0] for table in tables} == {*SECTIONS}
    rows = PAGE.table_headed("key", "What stands in it")
    keys = {key for row in rows for key in in_code(row[0])}
    assert keys == {"extends", *KEYS} - {*SPEC_KEYS, "hooks"} | {"token", "base_url"}
    said = PAGE.section("Which value counts")
    assert {name for group in ALTERNATIVES[:3] for name in group} <= {*in_code(said)}


def test_all_exports_are_shown_and_what_is_wrong_with_one_stops_no_other(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (file.parent / "two.toml").open("w") as two:
        two.write('[defaults]\ndestination = "${NAME}-export"\n[exports.tried]\n[exports.new]\n[exports.unset]\n')
        two.write('destination = "${UNSET}"\n')
    assert main(["demo", "tried-export", "--rows", "20", "-q"]) == 0
    capsys.readouterr()
    assert main(["status", "--all", "--config", "two.toml"]) == 2
    head, titles, *rows = capsys.readouterr().out.splitlines()
    assert head == "3 exports in two.toml: 1 well, 2 to look at"
    assert titles.split() == ["export", "state", "conversations", "all", "changes", "up", "to"]
    assert [row.split()[:2] for row in rows] == [["tried", "complete"], ["new", "unknown"], ["unset", "unknown"]]
    assert "no export there yet: exporter run --all begins it" in rows[1]
    assert "two.toml:6:1: exports.unset.destination: the environment variable UNSET is not set" in rows[2]
    assert main(["status", "--all", "--config", "two.toml", "--json"]) == 2
    tried, new, _ = json.loads(capsys.readouterr().out)
    assert main(["status", "tried", "--config", "two.toml", "--json"]) == 0
    assert tried == {
        "name": "tried", "destination": "tried-export", "exit_status": 0, "reason": "",
        **json.loads(capsys.readouterr().out),
    }  # fmt: skip
    assert (new["exit_status"], new["destination"]) == (2, "new-export")
    (file.parent / "one.toml").write_text('[exports.tried]\ndestination = "tried-export"\n')
    assert main(["status", "--all", "--config", "one.toml"]) == 0
    assert main(["status", "--all", "--config", "one.toml", "--check"]) == 0
    (file.parent / "tried-export/_exporter/commits").rename("gone")
    assert main(["status", "--all", "--config", "one.toml", "--check"]) > 0
