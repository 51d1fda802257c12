"""Opens what shows a run: a picture on a terminal, lines anywhere else, a log file, and objects for programs."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import typer

from exporter.cli.lines import LineProgress, ObjectProgress
from exporter.cli.log import Log, LogFile, open_log, written_to
from exporter.cli.option_flags import Display
from exporter.cli.output import is_terminal, say
from exporter.cli.screen import PlainProgress, Screen, can_draw
from exporter.errors import UsageError
from exporter.options.parse import to_bytes
from exporter.progress import Observer, Quiet, Snapshot

#: Without it, `--progress lines` would show nothing of a short run.
_FIRST_LINE_SECONDS: Final = 5.0
#: A terminal that cannot move its cursor gets a line this often, and so does a log.
_TERMINAL_LINE_SECONDS: Final = 5.0
_LOG_LINE_SECONDS: Final = 60.0


class Observers:
    """Hands every report on to each of several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def progress(self, snapshot: Snapshot) -> None:
        for observer in self._observers:
            observer.progress(snapshot)

    def note(self, event: str, /, **details: object) -> None:
        for observer in self._observers:
            observer.note(event, **details)

    def warn(self, event: str, /, **details: object) -> None:
        for observer in self._observers:
            observer.warn(event, **details)

    def close(self) -> None:
        for observer in self._observers:
            observer.close()


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what shows a run. `logs` take what must stand in a log, `json_log` what stderr gets in place of text.

    `draws` says that a picture is on the terminal until the observer is closed, and `is_quiet` that the observer shows
    nothing on stderr.
    """

    observer: Observers
    is_quiet: bool
    draws: bool
    logs: Sequence[Log]
    json_log: Log | None

    def alert(self, text: str) -> None:
        """Warns of what nobody may miss, however quiet the command is."""
        self.observer.warn(text)
        if self.is_quiet:
            self.say_warning(text)

    def say_warning(self, text: str) -> None:
        """Writes a warning to stderr alone."""
        if self.json_log is None:
            say(f"warning: {text}")
        else:
            self.json_log("warning", text, {})


def check_display(display: Display) -> None:
    """Raises `UsageError` for two options of which only one may be given."""
    if display.as_json and display.json_lines:
        raise UsageError("--json and --json-lines: give only one of them")
    if display.quiet and display.verbose:
        raise UsageError("--quiet and --verbose: give only one of them")


def open_display(
    display: Display,
    name: str,
    started: dict[str, object],
    *,
    counts_stored: bool = False,
    doing: str = "connecting",
) -> Shown:
    """Opens what shows a run at the destination `name`. `started` says in logs which run it is. Raises `UsageError`.

    With `counts_stored`, the rows that were there before the run are shown as a part of the whole. `doing` is shown
    before any news of the run.
    """
    check_display(display)
    if display.log_file_size is not None and display.log_file is None:
        raise UsageError("--log-file-size: give it together with --log-file")
    to_stderr = open_log(written_to(sys.stderr), display.log_format)
    json_log = to_stderr if display.log_format == "json" else None
    on_stderr = _on_stderr(display, to_stderr, name, started, counts_stored, doing)
    observers: list[Observer] = [on_stderr]
    logs = [] if json_log is None else [json_log]
    if display.log_file is not None:
        size = None if display.log_file_size is None else to_bytes(display.log_file_size, "--log-file-size")
        if size == 0:
            raise UsageError("--log-file-size: must be at least one byte")
        complain = _say_error if display.quiet else on_stderr.warn
        _check_outside(Path(display.log_file), str(started["destination"]))
        log = open_log(LogFile(Path(display.log_file), size, complain).write, display.log_format)
        observers.append(
            LineProgress(log, _LOG_LINE_SECONDS, verbose=display.verbose, first_seconds=_FIRST_LINE_SECONDS)
        )
        logs.append(log)
    for log in logs:
        if not (display.quiet and log is json_log):
            log("info", "started", started)
    if display.json_lines:
        observers.append(ObjectProgress(lambda fields: typer.echo(json.dumps(fields))))
    return Shown(
        observer=Observers(observers),
        is_quiet=display.quiet,
        draws=isinstance(on_stderr, Screen),
        logs=logs,
        json_log=json_log,
    )


def _check_outside(file: Path, destination: str) -> None:
    """Raises `UsageError` for a log file that lies inside the export, whose files it could spoil."""
    with suppress(OSError):
        if "://" not in destination and file.resolve().is_relative_to(Path(destination).resolve()):
            raise UsageError(f"--log-file {file}: inside the export. Name a file elsewhere")


def _say_error(what: str) -> None:
    say(f"exporter: {what}")


def _on_stderr(
    display: Display, log: Log, name: str, started: dict[str, object], counts_stored: bool, doing: str
) -> Observer:
    if display.quiet:
        return Quiet()
    kind = display.progress
    is_text = display.log_format == "text"
    if can_draw(sys.stderr) and (kind == "bar" or (kind == "auto" and is_text)):
        return Screen(sys.stderr, name, verbose=display.verbose, counts_stored=counts_stored, doing=doing)
    if is_text and kind != "none" and is_terminal(sys.stderr):
        return PlainProgress(sys.stderr, name, _TERMINAL_LINE_SECONDS, verbose=display.verbose)
    return LineProgress(
        log,
        _LOG_LINE_SECONDS,
        verbose=display.verbose,
        shows_progress=kind != "none",
        first_seconds=_FIRST_LINE_SECONDS if kind in ("bar", "lines") else None,
        started=started if is_text else None,
    )
