"""The manual's examples for schedulers run the same command, and act on its exit statuses."""

import inspect
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.contract import ORGANIZATION_VARIABLE
from exporter.jobs import metrics
from exporter.options.config import load_config
from exporter.sandbox import TOKEN
from tests.toolkit.manual import PAGES, README, defaults_in, help_of, in_code, names_in, run_shell, snippets_in
from tests.toolkit.programs import find_program

PAGE = PAGES["schedule"]
UNITS = PAGE.in_language("ini")
#: The command of cron.
SYNC = ["/opt/exporter/bin/exporter", "sync", "/srv/calls", "--token-file", "/etc/exporter/token"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Returns a stub for the exporter, which records how it was called, and ends as it is told."""
    program = tmp_path / "opt/exporter/bin/exporter"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@" >>"$HOME/calls"\nexit "${STATUS:-0}"\n')
    program.chmod(0o755)
    return tmp_path


def test_the_crontab(installed: Path) -> None:
    (crontab,) = snippets_in("crontab")
    assert crontab in README.text
    assert crontab in PAGE.text
    variable, line = crontab.splitlines()
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
    assert (installed / "calls").read_text().splitlines() == [
        shlex.join([*SYNC[1:], "--quiet", "--log-file", f"{installed}/exporter.log"])
    ] * 2


def test_the_units(installed: Path) -> None:
    analyze = find_program("systemd-analyze", "apt-get install systemd")
    shutil.copytree("/lib/systemd/system", installed / "usr/lib/systemd/system", symlinks=True)
    (installed / "lib").symlink_to("usr/lib")
    units = installed / "etc/systemd/system"
    units.mkdir(parents=True)
    names = re.findall(r"`/etc/systemd/system/(exporter[\w-]*\.\w+)`", PAGE.prose)
    assert names == ["exporter.service", "exporter.timer", "exporter-recordings.service"]
    for name, text in zip(names, UNITS, strict=True):
        (units / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", f"--root={installed}", *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (when,) = re.findall(r"^OnCalendar=(.*)$", UNITS[1], re.MULTILINE)
    assert subprocess.run([analyze, "calendar", when], capture_output=True, check=False).returncode == 0


def test_every_night(api: str, tmp_path: Path) -> None:
    """Runs the command of the unit with the config file, both as written, except that all lies below a directory."""
    (command,) = re.findall(r"^ExecStart=/opt/exporter/bin/(.*)$", UNITS[0], re.MULTILINE)
    (writable,) = re.findall(r"^ReadWritePaths=(.*)$", UNITS[0], re.MULTILINE)
    config = load_config(write_config(tmp_path), {})
    assert list(config.names) == ["acme", "globex"]
    entry = config.entry("acme")
    written = [Path(place) for place in (entry.destination, str(entry.metrics_file))]
    assert [f"/{path.relative_to(tmp_path).parent}" for path in written] == writable.split()
    for name in config.names:
        token = tmp_path / "etc/exporter/tokens" / name
        token.parent.mkdir(exist_ok=True)
        token.write_text(TOKEN)
        token.chmod(0o600)
    done = run_shell(command.replace("/etc", f"{tmp_path}/etc"), tmp_path, ANYREACH_BASE_URL=api)
    assert done.returncode == 0, done.stderr
    assert "2 exports: 2 complete" in done.stdout
    (check,) = [each for each in in_code(PAGE.section("Every night")) if each.startswith("exporter status acme")]
    assert run_shell(check.replace("/etc", f"{tmp_path}/etc"), tmp_path).returncode == 0


def write_config(directory: Path) -> Path:
    (text,) = PAGE.in_language("toml")
    (name,) = re.findall(r"`/(etc/exporter/exporter\.toml)`", PAGE.prose)
    file = directory / str(name)
    file.parent.mkdir(parents=True)
    file.write_text(text.replace('= "/', f'= "{directory}/'))
    (directory / "var/lib/node_exporter").mkdir(parents=True)
    return file


def test_the_queries_name_figures_that_there_are() -> None:
    figures = set(re.findall(r'"(exporter_\w+)"', inspect.getsource(metrics)))
    queried = {name for query in PAGE.in_language("promql") for name in re.findall(r"exporter_\w+", query)}
    assert queried == {"exporter_range_end_timestamp_seconds", "exporter_last_exit_status"} <= figures


def test_the_nightly_routine() -> None:
    for command, *_ in PAGE.table_headed("command"):
        _, name, *arguments = shlex.split(command.strip("`"))
        known = {option for names in defaults_in(help_of(name)) for option in names}
        assert names_in(" ".join(arguments)) <= known, command
