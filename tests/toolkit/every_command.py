"""Runs every command of the command line, one after another, in a process that the test has spoiled beforehand."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from exporter.sandbox import TOKEN

_DRIVER = """
import json, os, signal, sys
spoil, apart, commands, statuses = json.loads(sys.argv[1])
def end_what_serves():
    try:
        from exporter.cli import sandbox
    except (ImportError, MemoryError, OSError):
        return  # the command says so itself
    say = sandbox.say
    sandbox.say = lambda text: (say(text), signal.raise_signal(signal.SIGINT))
exec(spoil)
from exporter.__main__ import main
found = []
for command in commands:
    sys.argv = ["exporter", *command]
    if command[0] == "sandbox":
        end_what_serves()
    if apart and (child := os.fork()):
        found.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        continue
    try:
        main()
    except SystemExit as stop:
        if apart:
            raise
        found.append(stop.code)
with open(statuses, "w") as file:
    json.dump(found, file)
"""
_REFUSING = """
import errno
number, below, spared, only_new = json.loads({given!r})
spared.append(statuses)
written = os.O_CREAT if only_new else os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
#: The position of the new path among the arguments.
making = dict([("os.link", 1), ("os.mkdir", 0), ("os.symlink", 1)])
changing = ("os.chmod", "os.remove", "os.rename", "os.rmdir", "os.truncate")

def refuse(event, arguments):
    if event == "open" and arguments[2] & written or event in changing and not only_new:
        path = arguments[0]
    elif event in making:
        path = arguments[making[event]]
    else:
        return
    if isinstance(path, int):
        return
    # The system reports first that a name is taken.
    is_there = (event in making or only_new) and os.path.lexists(path)
    whole = os.path.abspath(os.fsdecode(path))
    is_device = whole.startswith("/dev/") and not whole.startswith("/dev/shm/")
    if not is_there and whole.startswith(below) and not is_device and not whole.startswith(tuple(spared)):
        raise OSError(number, os.strerror(number), path)

sys.addaudithook(refuse)
"""
WORD_OF_A_DEFECT = "this is a defect"


class CommandResults(NamedTuple):
    """Holds the exit status of each command, and everything that they printed."""

    statuses: dict[str, int]
    out: str
    err: str


def commands_at(root: Path, demo: Path) -> list[list[str]]:
    """Returns all commands that end by themselves; they export the server to `root`, and the demo to `demo`.

    The export reads one half of the rows of 2026-01-10, and the sync inserts the other.
    """
    where = str(root)
    return [
        ["export", where, "--since", "2026-01-01", "--until", "2026-01-10T12:00", "--json"],
        ["sync", where, "--json"],
        ["status", where, "--json"],
        ["verify", where, "--json"],
        ["verify", where, "--repair"],
        ["audit", where, "--json"],
        ["audit", where, "--repair"],
        ["reread", where, "--json"],
        ["reread", where, "--withheld"],
        ["accept", where, "--json"],
        ["compact", where, "--json"],
        ["vacuum", where, "--older-than", "0s", "--json"],
        ["schema", where],
        ["demo", str(demo), "--rows", "40", "--json"],
    ]


def every_command(root: Path, demo: Path) -> list[list[str]]:
    """Returns what `commands_at` returns, and the sandbox, which `run_each` interrupts when it serves."""
    return [*commands_at(root, demo), ["sandbox", "--port", "0", "--rows", "40"]]


def name_of(command: Sequence[str]) -> str:
    """Returns the name of a command, with the option that makes it do something else."""
    return " ".join([command[0], *(word for word in command if word in ("--repair", "--withheld"))])


def refusing(number: int, below: Path, *spared: Path, only_new: bool = False) -> str:
    """Returns Python source that makes a process's file system refuse, with the error `number`, whatever changes it.

    With `only_new`, it refuses only to make anything new.
    """
    return _REFUSING.format(given=json.dumps([number, str(below), [str(one) for one in spared], only_new]))


def run_each(
    commands: list[list[str]],
    url: str,
    directory: Path,
    *,
    spoil: str = "",
    apart: bool = False,
    preexec: Callable[[], object] | None = None,
    environment: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    **streams: Any,
) -> CommandResults:
    """Runs `commands` in one process. `spoil`, Python source, runs in it first, and `preexec` before that.

    With `apart`, each runs in a fork of that process, so that none meets what another has left in memory. `prefix` is a
    command that starts the process.
    """
    statuses = directory / "statuses.json"
    statuses.unlink(missing_ok=True)
    known = {name: value for name, value in os.environ.items() if not name.startswith("ANYREACH")}
    done = subprocess.run(
        [*prefix, sys.executable, "-c", _DRIVER, json.dumps([spoil, apart, commands, str(statuses)])],
        env=known | {"ANYREACH_BASE_URL": url, "ANYREACH_TOKEN": TOKEN} | (environment or {}),
        preexec_fn=preexec,
        timeout=240,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
    assert statuses.exists(), (done.returncode, done.stderr)
    found = dict(zip(map(name_of, commands), json.loads(statuses.read_text()), strict=True))
    return CommandResults(
        found, (done.stdout or b"").decode(errors="replace"), (done.stderr or b"").decode(errors="replace")
    )
