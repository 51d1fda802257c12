"""The manual's examples for schedulers run the same command, and act on its exit statuses."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.contract import ORGANIZATION_VARIABLE
from tests.toolkit.manual import PAGES, README, defaults_in, help_of, names_in, run_shell, snippets_in
from tests.toolkit.programs import find_program

#: The command of every timer in the manual.
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
    assert crontab in PAGES["schedule"].text
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
    names = re.findall(r"`/etc/systemd/system/(exporter[\w-]*\.\w+)`", PAGES["schedule"].prose)
    assert names == ["exporter.service", "exporter.timer", "exporter-recordings.service"]
    written = snippets_in("ini")
    for name, text in zip(names, written, strict=True):
        (units / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", f"--root={installed}", *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (command,) = re.findall(r"^ExecStart=(.*)$", written[0], re.MULTILINE)
    assert shlex.split(command) == SYNC
    (when,) = re.findall(r"^OnCalendar=(.*)$", written[1], re.MULTILINE)
    assert subprocess.run([analyze, "calendar", when], capture_output=True, check=False).returncode == 0


def test_the_nightly_routine() -> None:
    for command, *_ in PAGES["schedule"].table_headed("command"):
        _, name, *arguments = shlex.split(command.strip("`"))
        known = {option for names in defaults_in(help_of(name)) for option in names}
        assert names_in(" ".join(arguments)) <= known, command
