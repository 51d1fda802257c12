"""The command line: flags become a request, errors become exit statuses. Each command is a module.

A command is imported when it is named, and imports its job when it runs, so that `--help` loads neither other commands
nor Arrow nor an HTTP client. Reports go to stdout;
progress, warnings and errors go to stderr.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer

from exporter.cli import usage
from exporter.cli import version as version_command
from exporter.cli.command_line import remembering
from exporter.cli.commands import HELP_NAMES, Commands
from exporter.cli.lifeline import follow_parent
from exporter.cli.machine import translating
from exporter.cli.output import asks_for_objects, fail_in_json, say
from exporter.errors import ExporterError, UsageError
from exporter.heap import keep_heap_compact
from exporter.options.dialect import in_flags
from exporter.options.parse import to_choice

_COMPLETION: Final = ("--install-completion", "--show-completion")
_SHELLS: Final = ("bash", "zsh", "fish")

app = typer.Typer(
    cls=Commands,
    help="Export every conversation of an organization to partitioned Parquet.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, by default that of the process, and returns its exit status.

    Only `-v` shows where an unexpected error arose.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    keep_heap_compact(next(iter(arguments), ""))
    if "_EXPORTER_COMPLETE" in os.environ:
        # Otherwise typer would wrap long help texts, and a shell would take each line for a completion.
        os.environ["COLUMNS"] = "1000"
    try:
        with in_flags(), translating(), remembering():
            follow_parent()
            if len(arguments) > 1 and arguments[0] in _COMPLETION:
                to_choice(arguments[1], _SHELLS, arguments[0])
                # Typer takes a shell after these options only where it does not look for the shell itself.
                os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
            status = app(args=list(arguments), prog_name="exporter", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except usage.Refusal as refusal:
        if usage.asks_for_help(refusal):
            say(usage.describe(refusal), is_dated=False)
            return UsageError.exit_status
        return _fail(arguments, usage.describe(refusal), UsageError.exit_status)
    except ExporterError as error:
        return _fail(arguments, str(error), error.exit_status)
    except Exception as error:  # noqa: BLE001 - the last resort, so that no user meets a traceback
        what = f"unexpected {type(error).__name__}; this is a defect, please report it with the output of -v"
        status = _fail(arguments, what, 1)
        if not {"-v", "--verbose"}.isdisjoint(arguments):
            say("\n".join(_frames(error)))
        return status


def _fail(arguments: Sequence[str], reason: str, exit_status: int) -> int:
    """Says why a command failed, to people and, if they are asked for, to programs; returns its exit status."""
    say(f"exporter: {reason}")
    if asks_for_objects(arguments):
        fail_in_json(reason, exit_status)
    return exit_status


def _frames(error: BaseException) -> Iterator[str]:
    import traceback

    # Types and places without messages, because messages may quote the token or a conversation.
    if cause := error.__cause__ or error.__context__:
        yield from _frames(cause)
    yield f"{type(error).__name__} at"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _frames(member)


def _print_version(wanted: bool) -> None:
    if wanted:
        version_command.version()
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("-V", "--version", callback=_print_version, is_eager=True, help="Print the version.")
]


@app.callback()
def _root(version: Version = False) -> None:
    pass
