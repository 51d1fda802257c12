"""Shells complete options, values and topics, by the protocol of typer's scripts, each in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.about import ABOUT
from exporter.cli.option_flags import Display
from exporter.contract import FIELD_NAMES, FILTERS_BY_NAME, STATUSES
from exporter.options.option import options_of
from exporter.options.parse import flag_of
from exporter.options.spec import ExportSpec
from exporter.sandbox import DENSITIES
from exporter.settings import PARTITIONS
from tests.toolkit.programs import find_program

SHELLS = ("bash", "zsh", "fish")
FLAGS = {
    flag for name, each in options_of(ExportSpec).items() for flag in (each.flags or (flag_of(name),))[0].split("/")
}
DISPLAY = {(each.flags or (flag_of(name),))[0] for name, each in options_of(Display).items()}
PROGRAM = """
import os, sys
from pathlib import Path
from exporter.cli import main, manual

shell, pages, *lines = sys.argv[1:]
manual.folder = lambda: Path(pages)
os.environ |= {"_EXPORTER_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
for line in lines:
    at = len(line.split()) - (not line.endswith(" "))
    os.environ |= {"COMP_WORDS": line, "COMP_CWORD": str(at), "_TYPER_COMPLETE_ARGS": line}
    status = main([])
    print("--", status, flush=True)
print([name for name in ("pyarrow", "aiohttp", "asyncio") if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "clocks.md").write_text("# Clocks\n\nWhich clock [/a] run goes by.\n", encoding="utf-8")
    (tmp_path / "sync.md").write_text("# Sync\n\nBring it up to date.\n", encoding="utf-8")
    (tmp_path / "sandbox.md").write_text(
        "# The sandbox\n\nServe.\n\n| switch | what |\n|---|---|\n| `faults` | a |\n| `fault_rate` | b |\n\n"
        "| media switch | what |\n|---|---|\n| `cuts` | c |\n\n| fault | what |\n|---|---|\n| `cut` | d |\n",
        encoding="utf-8",
    )
    return tmp_path


def words_of(shell: str, answer: str) -> set[str]:
    """Returns the words that a shell is given to choose from, without the help beside them."""
    if shell == "zsh":
        return set(re.findall(r'^(?:_arguments \'\*: :\(\()?"([^"]*)"', answer, re.MULTILINE))
    return {line.partition("\t")[0] for line in answer.splitlines()}


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_completed(shell: str, pages: Path) -> None:
    wanted = {
        "exporter export out --": FLAGS | DISPLAY | {"--config", "--metrics-file", "--help"},
        "exporter export out --trus": {"--trust-clock"},
        "exporter sync out --partition-by ": set(PARTITIONS),
        "exporter schema --partition-by m": {"month"},
        "exporter schema --table ": {"conversations", "turns", "recordings"},
        "exporter export out --status t": {name for name in STATUSES if name.startswith("t")},
        "exporter export out --status completed,fai": {"completed,failed", "completed,failed,"},
        "exporter export out --direction inbound,": {"inbound,outbound"},
        "exporter export out --timezone Europe/Berl": {"Europe/Berlin"},
        "exporter export out --since yes": {"yesterday"},
        "exporter sync out --since last-": {"last-week", "last-month", "last-year"},
        "exporter export out --fields agent_": {name for name in FIELD_NAMES if name.startswith("agent_")},
        "exporter export out --fields id,agent_id,agent_": {
            "id,agent_id,agent_number",
            "id,agent_id,agent_version_id",
        },
        "exporter export out --exclude-fields conv": {"conversation", "conversation,"},
        "exporter export out --tables conversations,": {"conversations,turns"},
        "exporter export out --filter ": {f"{name}=" for name in FILTERS_BY_NAME},
        "exporter help ": {"clocks", *ABOUT},
        "exporter help cl": {"clocks"},
        "exporter a": {"accept", "audit"},
        "exporter sandbox --density ": set(DENSITIES),
        "exporter sandbox --behaviour fault": {"fault_rate=", "faults="},
        "exporter sandbox --media cu": {"cut=", "cuts="},
        "exporter export out --log-format ": {"text", "json"},
    }
    command = [sys.executable, "-c", PROGRAM, shell, str(pages), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stderr == "[]\n"
    answers = done.stdout.split("-- 0\n")
    assert {line: words_of(shell, answer) for line, answer in zip(wanted, answers, strict=False)} == wanted
    assert answers[len(wanted) :] == [""]


def exporter(*arguments: str, **variables: str) -> str:
    command = [sys.executable, "-m", "exporter", *arguments]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_shown_and_installed(shell: str, tmp_path: Path) -> None:
    script = exporter("--show-completion", shell, SHELL="/bin/sh")
    assert f"_EXPORTER_COMPLETE=complete_{shell}" in script
    exporter("--install-completion", shell, HOME=str(tmp_path))
    installed = [path for path in tmp_path.rglob("*exporter*") if path.is_file()]
    assert [path.read_text(encoding="utf-8").strip() for path in installed] == [script.strip()]


def test_bash_itself_completes(tmp_path: Path) -> None:
    """A bash of its own completes, after the exporter has detected it."""
    program = tmp_path / "exporter"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m exporter "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(exporter --show-completion)"; COMP_WORDS=(exporter export out --fields id,summ); COMP_CWORD=4; '
        '_exporter_completion exporter; echo "${COMPREPLY[@]}"'
    )
    variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    bash = find_program("bash", "apt-get install bash")
    done = subprocess.run([bash, "-c", script], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "id,summary id,summary,\n", "")
