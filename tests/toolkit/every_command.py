"""Every command of the command line, one after the other, in a process that the test has spoilt beforehand."""

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
spoil, commands, statuses = json.loads(sys.argv[1])
exec(spoil)
from exporter.__main__ import main
found = []
for command in commands:
    sys.argv = ["exporter", *command]
    try:
        main()
    except SystemExit as stop:
        found.append(stop.code)
with open(statuses, "w") as file:
    json.dump(found, file)
"""
WORD_OF_A_DEFECT = "this is a defect"


class Ended(NamedTuple):
    """The exit status of each command, and what all have said."""

    statuses: dict[str, int]
    out: str
    err: str


def commands_at(root: Path, demo: Path) -> list[list[str]]:
    """All commands; `root` is exported from the server, and `demo` is where the demo goes."""
    where = str(root)
    return [
        ["export", where, "--since", "2026-01-01", "--until", "2026-02-01", "--json"],
        ["sync", where, "--json"],
        ["status", where, "--json"],
        ["verify", where, "--json"],
        ["audit", where, "--json"],
        ["compact", where, "--json"],
        ["vacuum", where, "--json"],
        ["schema", where],
        ["demo", str(demo), "--rows", "40", "--json"],
        ["sandbox", "--help"],
    ]


def run_each(
    commands: list[list[str]],
    url: str,
    directory: Path,
    *,
    spoil: str = "",
    preexec: Callable[[], object] | None = None,
    environment: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    **streams: Any,
) -> Ended:
    """Runs these in one process; `spoil`, Python source, runs in it first, and `preexec` before that.

    `prefix` is a command that starts it.
    """
    statuses = directory / "statuses.json"
    statuses.unlink(missing_ok=True)
    known = {name: value for name, value in os.environ.items() if not name.startswith("ANYREACH")}
    done = subprocess.run(
        [*prefix, sys.executable, "-c", _DRIVER, json.dumps([spoil, commands, str(statuses)])],
        env=known | {"ANYREACH_BASE_URL": url, "ANYREACH_TOKEN": TOKEN} | (environment or {}),
        preexec_fn=preexec,
        timeout=240,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
    assert statuses.exists(), (done.returncode, done.stderr)
    found = dict(zip((command[0] for command in commands), json.loads(statuses.read_text()), strict=True))
    return Ended(found, (done.stdout or b"").decode(errors="replace"), (done.stderr or b"").decode(errors="replace"))
