"""The help of each command is whole: groups, two examples that the command takes, exit statuses, where to read more."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main, policy, run, sandbox
from exporter.cli.about import ABOUT
from exporter.cli.commands import load_command, module_of
from exporter.cli.statuses import STATUSES
from exporter.errors import ExporterError
from exporter.options.option import Group
from tests.toolkit.manual import PAGES

COMMANDS: dict[str, Any] = {name: load_command(name) for name in ABOUT}


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([command, "--help"]) == 0
    return capsys.readouterr().out


def section(title: str, text: str) -> list[str]:
    found = re.search(rf"^{re.escape(title)}:\n((?:  .*\n)+)", text, re.MULTILINE)
    return found[1].splitlines() if found else []


def test_lists_of_commands_show_what_each_says_of_itself_first() -> None:
    for name, command in COMMANDS.items():
        assert ABOUT[name].line == command.help.partition("\n")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_has_a_group_and_a_metavar_for_people(command: str) -> None:
    made = COMMANDS[command]
    context = made.make_context(command, [], resilient_parsing=True)
    for each in made.get_params(context):
        if each.param_type_name == "argument":
            assert re.fullmatch("[A-Z]+", each.metavar), f"{command}: the argument {each.name} needs a metavar"
            continue
        assert each.name == "help" or each.rich_help_panel in list(Group), (
            f"exporter {command} {each.opts[0]}: give it a group of exporter.options.option.Group, as "
            "Option(…, group=…), flag(…, group=…) or switch(…, group=…)"
        )
        assert each.is_flag or re.fullmatch(r"[A-Z][A-Z,=/\[\]]*", each.metavar or ""), (
            f"{each.opts[0]} needs a metavar"
        )
        assert each.name == "help" or each.help.endswith("."), each.opts[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_shape_of_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(command, capsys)
    about = ABOUT[command]
    assert text.startswith(f"Usage: exporter {command} ")
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"[<{]|\[\[|\[default|typer|int range", text)
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    groups = [title for title in titles if title in list(Group)]
    assert groups == [group for group in Group if group in groups]
    assert groups[-1] == Group.OUTPUT
    examples = section("Examples", text)
    assert len(examples) >= 4
    assert [line.strip() for line in examples[1::2]] == [line for _, line in about.examples]
    assert [int(line.split()[0]) for line in section("Exit statuses", text) if re.match("  [0-9]", line)] == list(
        STATUSES[command]
    )
    more = "exporter help" if about.topic == "index" else f"exporter help {about.topic}"
    assert text.splitlines()[-1] == f"More: {more}"
    assert about.topic in PAGES or about.topic == "index"


EXAMPLES = [line for about in ABOUT.values() for _, line in about.examples]


@pytest.mark.parametrize("line", EXAMPLES)
def test_each_example_is_taken_by_its_command(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first thing that a command does, once its options are read, is to look at DEST."""
    monkeypatch.chdir(tmp_path)

    def read(*_: object) -> None:
        raise ExporterError("the options are read")

    for name in COMMANDS:
        if hasattr(
            module := sys.modules[f"exporter.cli.{module_of(name)}"],
            "parse_location",
        ):
            monkeypatch.setattr(module, "parse_location", read)
    monkeypatch.setattr(sandbox, "run_until_signal", read)
    monkeypatch.setattr(policy, "load_policy", read)
    monkeypatch.setattr(run, "find_config", read)
    words = shlex.split(re.split(r" [>|]", line)[0])
    assert words[0] == "exporter"
    ends_here = {"help", "version", "-V", "keygen"} & set(words) or (
        words[:2] == ["exporter", "schema"] and "calls" not in words
    )
    assert main(words[1:]) == (0 if ends_here else 1)


def test_the_first_option_of_an_export_makes_sense_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = section(Group.RANGE, help_of("export", capsys))
    assert first == "  --since TIME           Read conversations created at this time or later:"


def test_the_list_of_commands_is_grouped_and_ends_with_where_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert titles == ["Start here", "Export", "Check", "Upkeep", "More", "Options", "Examples", "Learn more"]
    assert {name for name in COMMANDS if re.search(rf"^  {name} ", text, re.MULTILINE)} == set(COMMANDS)
    assert [line for line in section("Examples", text) if not line.startswith("  #")]
    for line in section("Examples", text)[1::2]:
        assert line.split()[1] in COMMANDS


def test_the_sandbox_names_its_switches_and_their_other_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    from exporter.sandbox import MEDIA_FAULTS, Behaviour, MediaBehaviour

    text = help_of("sandbox", capsys)
    recordings = section("Switches of the recordings, each given as --media NAME=VALUE", text)
    named = {line.split()[0] for line in recordings if line[2] != " "}
    assert named == set(MediaBehaviour.__struct_fields__) - {"faults"}
    faults = section("Shares of recordings that meet a fault, each given as --media NAME=SHARE", text)
    assert {line.split()[0] for line in faults if line[2] != " "} == set(MEDIA_FAULTS)
    shown = section("Switches, each given as --behaviour NAME=VALUE", text)
    assert [line.split()[0] for line in shown if line[2] != " "] == list(Behaviour.__struct_fields__)
    assert "--behaviour, --behavior NAME=VALUE" in text
    assert main(["sandbox", "--behavior", "mood=bad"]) == 2


def test_a_narrow_terminal_gets_short_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = [line for line in help_of("export", capsys).splitlines() if not re.match("  (#|exporter)", line)]
    assert max(map(len, lines)) <= 60


def test_help_of_the_sandbox_loads_no_server() -> None:
    heavy = ["pyarrow", "aiohttp", "rich", "asyncio", "anyio"]
    code = (
        "import sys; from exporter.cli import main; status = main(['sandbox', '--help']); "
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_an_option_says_only_what_it_means_to_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    said = {name: " ".join(help_of(name, capsys).split()) for name in ("export", "sync", "audit", "reread")}
    assert "--since TIME Read conversations created" in said["export"]
    assert "--since TIME Compare conversations created" in said["audit"]
    assert "--since TIME Read again conversations created" in said["reread"]
    for name, command in ("a sync", "export"), ("an audit", "export"), ("sync", "audit"):
        assert name not in said[command].partition("--lag")[2].partition("--trust-clock")[0]
    assert "Read again conversations created before this time. Default: the end of what DEST holds." in said["reread"]
