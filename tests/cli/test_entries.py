"""Every command takes the name of an export in a config file in place of DEST; its flags lie over the file."""

import json
import shlex
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import anyio.lowlevel
import msgspec
import pytest
import typer.main

from exporter.cli import app, main
from exporter.cli.about import ABOUT
from exporter.cli.advice import advise
from exporter.cli.command_line import remembering
from exporter.cli.commands import load_command
from exporter.cli.entries import current_entry
from exporter.cli.watch import Watch
from exporter.contract import parse_timestamp
from exporter.errors import ExporterError
from exporter.options.config import Entry
from exporter.options.config_layers import RESERVED
from exporter.options.parse import flag_of
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.sandbox import make_conversations
from tests.toolkit.dated import undated
from tests.toolkit.manual import serving
from tests.toolkit.option_values import ENVIRONMENT, GOES_WITH, LITERALS, value_of

#: As `main` makes it each time.
COMMANDS = typer.main.get_command(app)


class SeenError(ExporterError):
    """Ends a command once it knows its spec and its entry."""

    spec: ExportSpec
    entry: Entry | None


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Returns a function that runs a command line up to the point at which its spec is resolved."""

    def resolve(spec: ExportSpec, environment: Mapping[str, str], *, heeds_signals: bool = False) -> None:
        error = SeenError("seen")
        error.spec, error.entry = spec, current_entry()
        seen.append(error)
        raise error

    def run(*line: str) -> SeenError:
        with remembering(), pytest.raises(SeenError):
            COMMANDS(args=list(line), standalone_mode=False)
        return seen.pop()

    seen: list[SeenError] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ExportSpec, "resolve", resolve)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return run


def flags_of(name: str, value: Any) -> list[str]:
    """Returns an option as it is typed."""
    if isinstance(value, bool):
        return [f"--{'' if value else 'no-'}{flag_of(name)[2:]}"]
    flag = (OPTIONS[name].flags or (flag_of(name),))[0]
    if isinstance(value, dict):
        return [flag, json.dumps(value)] if name == "custom_metadata" else pairs_of(flag, value)
    return [flag, value if isinstance(value, str) else ",".join(value) if isinstance(value, list) else str(value)]


def pairs_of(flag: str, value: Mapping[str, Any]) -> list[str]:
    return [word for key, each in value.items() for word in (flag, f"{key}={each}")]


def taken(**options: Any) -> tuple[Any, ...]:
    """Returns what options come to, however they were written."""
    spec = ExportSpec(**options)
    settings = spec.settings()
    return (
        settings,
        msgspec.structs.replace(spec._select(settings), in_zone=None),
        *(str(options.get(name)) for name in _AS_THEY_ARE),
    )


#: Options that are looked into only when a spec is resolved.
_AS_THEY_ARE = ("token_file", "org_id", "ca_file", "insecure_http", "policy", "privacy_key_file", "data_key_file")


@pytest.mark.parametrize("name", OPTIONS)
def test_for_each_option_what_was_typed_is_heeded_before_all_that_the_file_says(
    name: str, run: Any, tmp_path: Path
) -> None:
    low, middle, high, typed = LITERALS[name]
    (tmp_path / "exporter.toml").write_text(
        f'[defaults]\n{name} = {low}\n[templates.base]\n{name} = {middle}\n[exports.acme]\nextends = "base"\n'
        f'{name} = {high}\ndestination = "calls"\ncommand = "export"\n{GOES_WITH.get(name, "")}\n'
    )
    from_file = run("export", "acme")
    assert getattr(from_file.spec, name) == value_of(high)
    assert from_file.entry is not None and from_file.entry.name == "acme"
    value = True if name == "insecure_http" else value_of(typed)
    spec = run("export", "acme", *flags_of(name, value)).spec
    both = {name: value} | ({"table_format": "iceberg"} if name in GOES_WITH else {})
    assert taken(**{each: getattr(spec, each) for each in both}) == taken(**both)


FILE = """\
[defaults]
destination = "calls/${NAME}"
token = "${ONE}"
base_url = "https://one.example"
[exports.acme]
created_after = 2026-01-01
fields = "duration"
data_key_file = "data.key"
refilter = true
keep_generations = 3
recording_retention = "14d"
metrics_file = "acme.prom"
[exports.old]
command = "export"
until = 2026-02-01
[hooks]
on_start = "log ${NAME}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "exporter.toml"
    path.write_text(FILE)
    return path


def test_what_means_the_same_as_a_typed_option_gives_way_to_it(run: Any, file: Path) -> None:
    spec = run("sync", "acme", "--since", "2026-01-02", "--exclude-fields", "summary", "--token-file", "tok").spec
    assert (spec.since, spec.created_after, spec.token_file, spec.token) == ("2026-01-02", None, "tok", None)
    assert (spec.exclude_fields, spec.fields) == ("summary", None)


def test_a_command_is_given_what_it_has_and_the_range_only_where_it_means_that_of_the_dataset(
    run: Any, file: Path
) -> None:
    for command in ("export", "sync"):
        assert run(command, "acme").spec.created_after == date(2026, 1, 1)
    for command in ("audit", "reread", "recordings"):
        spec = run(command, "acme").spec
        assert (spec.created_after, spec.fields, spec.token) == (None, None, "ak_one")
        assert spec.base_url == "https://one.example"
        assert spec.data_key_file == "data.key"


def test_a_command_that_asks_no_api_needs_no_variable_of_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.delenv("ONE", raising=False)
    assert main(["status", "acme"]) == 2
    assert (
        undated(capsys.readouterr().err)
        == "exporter: calls/acme: no export here; check the path, or run exporter export first\n"
    )
    assert main(["sync", "acme"]) == 2
    assert "defaults.token: the environment variable ONE is not set" in capsys.readouterr().err


def test_an_export_runs_by_its_name_and_what_it_advises_names_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Any] = []

    async def note(watch: Watch, *_: object) -> None:
        told.append(watch)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(Watch, "look", note)
    monkeypatch.setattr(Watch, "end", note)
    monkeypatch.setenv("ONE", "ak_sandbox")
    with serving(make_conversations(20, parse_timestamp("2026-01-05"), parse_timestamp("2026-01-06"))) as url:
        file.write_text(FILE.replace("https://one.example", url))
        (file.parent / "elsewhere").mkdir()
        monkeypatch.chdir(file.parent / "elsewhere")
        assert main(["sync", "acme", "--config", "../exporter.toml", "--json", "--page-size", "7"]) == 0
    assert json.loads(capsys.readouterr().out)["fields"] == ["id", "status", "duration", "created_at", "updated_at"]
    assert (file.parent / "calls/acme/_SUCCESS").exists()
    assert [(each.export, each.hooks.on_start[0].arguments) for each in told] == [("acme", ("log", "acme"))] * 2
    assert told[0].metrics_file == file.parent / "elsewhere/../acme.prom"
    assert current_entry() is None


def test_advice_names_the_entry_and_the_file_that_was_given(
    run: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advised: list[str] = []

    def look(spec: ExportSpec, *_: Any, **__: Any) -> None:
        advised.append(advise("sync", Path("calls/acme")))
        advised.append(advise("verify", Path("calls/acme"), "--repair"))
        advised.append(advise("sync", Path("other")))
        raise SeenError("seen")

    monkeypatch.setattr(ExportSpec, "resolve", look)
    assert main(["sync", "acme", "--page-size", "7", "--config", "exporter.toml"]) == 1
    assert advised == [
        "exporter sync acme --config exporter.toml --page-size 7",
        "exporter verify acme --config exporter.toml --repair",
        "exporter sync other --page-size 7",
    ]


#: A command line beside the file above, and what is said of it.
_NONE = "exporter.toml: there is no export"
_ELSE = "for a directory of that name"
BAD = {
    "sync old": "old: the config file gives it until, and a sync always reads up to now. "
    "Did you mean exporter export old?",
    "sync acne": f"{_NONE} acne. Did you mean acme? Write ./acne {_ELSE}",
    "status beta": f"{_NONE} beta. It has acme, old. Write ./beta {_ELSE}",
    "status here --config exporter.toml": f"{_NONE} here. It has acme, old. Write ./here {_ELSE}",
    "status ./acme --config exporter.toml": "--config: has names of exports, and ./acme is a path or a URL. "
    "Leave one out",
    "status acme --config none": "--config none: there is no such file",
    "status acme --config": "--config: must have a value: --config FILE",
    "status acme --config here": "here: not a regular file",
    "status acme --config ''": "--config: must name a file; is the variable that it was taken from empty?",
    "status acme --config wrong.toml": "wrong.toml:1:1: must name an export: [exports.NAME]",
    "demo acme --config exporter.toml": "demo has no option --config. exporter demo --help lists all",
    "status --config exporter.toml": "status needs DEST",
}


@pytest.mark.parametrize("line", BAD)
def test_a_name_or_a_file_that_is_wrong_is_refused_in_a_line(
    line: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("ONE", "ak_one")
    Path("here").mkdir()
    Path("wrong.toml").touch()
    assert main(shlex.split(line)) == 2
    assert undated(capsys.readouterr().err).startswith(f"exporter: {BAD[line]}")


@pytest.mark.parametrize("word", ["here", "./acme", "/srv/none", "s3://bucket/acme"])
def test_a_destination_that_is_no_name_is_one_as_before(word: str, run: Any, file: Path) -> None:
    Path("here").mkdir()
    seen = run("export", word)
    assert (seen.entry, seen.spec.page_size) == (None, 1000)


def test_no_export_can_have_the_name_of_a_command() -> None:
    words = {word for command in COMMANDS.commands for word in command.split()}  # type: ignore[attr-defined]
    assert words - {"cat"} <= RESERVED


def test_every_command_with_a_destination_takes_a_name(file: Path) -> None:
    commands = {name: load_command(name) for name in ABOUT}
    options = {name: {each.name for each in command.params} for name, command in commands.items()}
    lack = {name for name, names in options.items() if "destination" in names and "config" not in names}
    assert lack == {"demo"}
