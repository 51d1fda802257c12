"""`exporter run`: many exports of a config file, some at once."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli.display import check_display
from exporter.cli.flags import flag, switch
from exporter.cli.fleet_display import open_fleet_display
from exporter.cli.fleet_report import describe_outcomes, fleet_figures
from exporter.cli.lifeline import CONTENT_VARIABLE
from exporter.cli.log import open_log, written_to
from exporter.cli.machine import translating
from exporter.cli.option_flags import Display, with_options
from exporter.cli.output import report, say
from exporter.cli.runner import run_until_signal
from exporter.errors import UsageError
from exporter.options.config import command_of, load_config
from exporter.options.config_place import find_config
from exporter.options.option import Group
from exporter.options.toml import read_content
from exporter.words import did_you_mean

if TYPE_CHECKING:
    from exporter.engine import Engine


@with_options("log_file", "log_file_size")
def run(
    display: Display,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Exports of the config file, in this order.")
    ] = None,
    every: Annotated[bool, switch("--all", "Run every export of the file, in its order.", Group.DONE)] = False,
    jobs: Annotated[
        int, flag("Run at most this many at once; each takes the memory of a run.", "N", Group.READ, min=1, max=256)
    ] = 4,
    max_rps: Annotated[
        float | None,
        flag(
            "Send each host at most this many requests a second, from all exports together. Default: the lowest that "
            "exports at work there have, otherwise no ceiling.",
            "X",
            Group.READ,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        flag(
            "Read large exports in tasks on this engine, which all of them share: processes[:N], ray[:ADDRESS] or "
            "spark[:MASTER]. Default: each reads in its own process.",
            "ENGINE",
            Group.READ,
        ),
    ] = None,
    config: Annotated[
        str | None,
        flag(
            "Read this config file. Default: EXPORTER_CONFIG, otherwise exporter.toml here or in ~/.config/exporter.",
            "FILE",
            Group.DONE,
        ),
    ] = None,
) -> None:
    """Bring many exports up to date, each as a process of its own that no other can harm.

    Exports that ask one host share its ceiling, and those with one token share what the host allows to it.
    """
    if max_rps is not None and not 0 < max_rps < float("inf"):
        raise UsageError("--max-rps: must be above 0")
    check_display(display)
    if every == bool(names):
        raise UsageError("run: give the names of exports, or --all" + (", and not both" if every else ""))
    path = find_config(config, os.environ)
    if path is None:
        raise UsageError("there is no config file: write exporter.toml (exporter help config), or give --config")
    content = read_content(path)
    known = load_config(path, os.environ, content)
    chosen = _choose(names or [], known.names, every=every)

    from exporter.fleet.child import Job
    from exporter.fleet.fleet import Fleet

    options = ["--config", str(path.absolute()), "--json-lines", "--progress", "none", "--log-format", "json"]
    options += ["--verbose"] if display.verbose else ["--quiet"] if display.quiet else []
    options += [] if max_rps is None else ["--max-rps", repr(max_rps)]
    log = open_log(written_to(sys.stderr), display.log_format)
    shown = open_fleet_display(display, len(chosen), log, lambda fields: typer.echo(json.dumps(fields)))
    # An entry that is wrong is for its own process to tell of, as in a run of it alone.
    arguments = {name: (command_of(known.layers[name]), *options, "--", name) for name in chosen}
    named = [Job(name, arguments[name], known.variables_of_others(name)) for name in chosen]
    try:
        with _kept(content) as descriptor, _opened(engine) as lent:
            inherited = {CONTENT_VARIABLE: descriptor}
            fleet = Fleet(named, jobs, shown, os.environ, inherited, lent)
            outcomes = run_until_signal(fleet.run, "stopped")
    finally:
        shown.close()
    seconds = shown.state.seconds
    figures = fleet_figures(outcomes, fleet.requests, seconds)
    lines = list(describe_outcomes(outcomes, fleet.requests, seconds))
    if display.quiet:
        for each in outcomes:
            if each.exit_status:
                say(f"exporter: {each.name}: {each.ending}: {each.reason or f'exporter status {each.name} says why'}")
    if display.as_json:
        typer.echo(json.dumps(figures))
    elif display.json_lines:
        typer.echo(json.dumps({"event": "summary", **figures}))
    else:
        report(lines[0] if display.quiet else "\n".join(lines))
    raise typer.Exit(figures["status"])


@contextmanager
def _kept(content: bytes) -> Iterator[int]:
    """Yields the descriptor of a file without a name that holds the content: every export is to read what was checked,
    whoever writes to the config file meanwhile."""
    with translating(), TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.fileno()


@contextmanager
def _opened(text: str | None) -> Iterator["Engine | None"]:
    """Yields the engine that a text names, and closes it."""
    if text is None:
        yield None
        return

    from exporter.engines.named import open_engine

    with closing(open_engine(text)) as engine:
        yield engine


def _choose(names: Sequence[str], known: Sequence[str], *, every: bool) -> list[str]:
    for name in names:
        if name not in known:
            near = did_you_mean(name, known) or f" It has {', '.join(known)}"
            raise UsageError(f"{name}: there is no such export in the config file.{near}")
        if list(names).count(name) > 1:
            raise UsageError(f"{name}: is named twice")
    return list(known) if every else list(names)
