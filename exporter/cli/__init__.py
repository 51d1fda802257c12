"""The command line: flags become a request, errors become exit statuses. Each command is a module.

A command imports its job when it runs, so that `--help` loads neither Arrow nor an HTTP client. Reports go to stdout;
progress, warnings and errors go to stderr.
"""

import inspect
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Final

import typer

from exporter.cli import (
    accept,
    audit,
    changes,
    check,
    compact,
    convert,
    demo,
    erase,
    expire,
    export,
    keygen,
    manual,
    plan,
    policy,
    protect,
    reconcile,
    recordings,
    recordings_cat,
    rekey,
    reread,
    run,
    sandbox,
    schema,
    status,
    sync,
    usage,
    vacuum,
    verify,
)
from exporter.cli import version as version_command
from exporter.cli.command_line import remembering
from exporter.cli.entries import taking_names
from exporter.cli.heap import keep_heap_compact
from exporter.cli.help import HelpedCommand, HelpedGroup
from exporter.cli.lifeline import follow_parent
from exporter.cli.machine import translating
from exporter.cli.output import asks_for_objects, fail_in_json, say
from exporter.cli.refusal import telling_refusals
from exporter.cli.typed import taking_text
from exporter.errors import ExporterError, UsageError
from exporter.options.config_layers import METRICS_FILE
from exporter.options.dialect import in_flags
from exporter.options.parse import to_choice

_COMPLETION: Final = ("--install-completion", "--show-completion")
_SHELLS: Final = ("bash", "zsh", "fish")

app = typer.Typer(
    cls=HelpedGroup,
    help="Export every conversation of an organization to partitioned Parquet.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, by default that of the process, and returns its exit status.

    Only `-v` shows where an unexpected error arose.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    # A core dump would leave the token and conversations on the disk.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
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


_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "export": export.export,
    "sync": sync.sync,
    "recordings": recordings.recordings,
    "recordings cat": recordings_cat.recordings_cat,
    "changes": changes.changes,
    "run": run.run,
    "demo": demo.demo,
    "check": check.check,
    "plan": plan.plan,
    "status": status.status,
    "verify": verify.verify,
    "audit": audit.audit,
    "reconcile": reconcile.reconcile,
    "reread": reread.reread,
    "accept": accept.accept,
    "erase": erase.erase,
    "compact": compact.compact,
    "protect": protect.protect,
    "rekey": rekey.rekey,
    "vacuum": vacuum.vacuum,
    "policy": policy.policy,
    "keygen": keygen.keygen,
    "expire": expire.expire,
    "schema": schema.schema,
    "convert": convert.convert,
    "sandbox": sandbox.sandbox,
    "help": manual.manual,
    "version": version_command.version,
}
#: Makes up what it exports, which belongs to no entry of a config file.
_TAKES_NO_NAME: Final = ("demo",)


def _on_a_line(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Returns a command as typer takes it."""
    taken = taking_text(command)
    has_destination = "destination" in inspect.signature(command).parameters
    if not has_destination or name in _TAKES_NO_NAME:
        return taken
    named = taking_names(taken)
    return telling_refusals(named) if METRICS_FILE in inspect.signature(command).parameters else named


for _name, _command in _COMMANDS.items():
    # Otherwise typer would cut the first sentence short in the list of commands.
    _line = (inspect.getdoc(_command) or "").partition("\n")[0]
    app.command(_name, cls=HelpedCommand, short_help=_line)(_on_a_line(_name, _command))
