"""Lists the commands, and imports one of them when a command line names it."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from exporter.cli import usage
from exporter.cli.about import ABOUT
from exporter.cli.help import HelpedCommand, top_help
from exporter.errors import UsageError
from exporter.words import did_you_mean

#: The modules, each with a function of its name, of commands that cannot lend them their own.
_MODULES: Final = {"help": "manual", "report": "html_report"}
HELP_NAMES: Final = {"help_option_names": ["--help", "-h"]}
#: Makes up what it exports, which belongs to no entry of a config file.
_TAKES_NO_NAME: Final = ("demo",)


def load_command(name: str) -> TyperCommand:
    """Imports a command, and returns it as typer takes it."""
    word = module_of(name)
    command = getattr(import_module(f"exporter.cli.{word}"), word)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, cls=HelpedCommand, context_settings=HELP_NAMES)(_on_a_line(name, command))
    return typer.main.get_command(alone)  # type: ignore[return-value]


def module_of(name: str) -> str:
    """Returns the name of the module of a command, and of the function in it."""
    return _MODULES.get(name, name.replace(" ", "_"))


def _on_a_line(name: str, command: Callable[..., None]) -> Callable[..., None]:
    from exporter.cli.typed import taking_text

    taken, parameters = taking_text(command), inspect.signature(command).parameters
    if "destination" not in parameters or name in _TAKES_NO_NAME:
        return taken

    from exporter.cli.entries import taking_names
    from exporter.cli.refusal import telling_refusals
    from exporter.options.config_keys import METRICS_FILE

    named = taking_names(taken)
    return telling_refusals(named) if METRICS_FILE in parameters else named


class Commands(TyperGroup):
    """Shows all commands by section, and names the one that a slip was meant for. What it shows has no parameters."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = {name: TyperCommand(name, short_help=about.line) for name, about in ABOUT.items()}

    def get_help(self, ctx: Any) -> str:
        """Returns the help of the program."""
        return top_help(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Returns what follows the options that stand before a command."""
        usage.take_as_typed(self, ctx)
        with usage.of_command(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns the command that the first argument names, or the first two. Raises `UsageError` if there is none."""
        if (both := " ".join(args[:2])) in self.commands:
            args = [both, *args[2:]]
        if args[0] in self.commands:
            return args[0], load_command(args[0]), args[1:]
        if not ctx.resilient_parsing:
            near = did_you_mean(args[0], self.commands) or " exporter --help lists the commands"
            raise UsageError(f"there is no command {args[0]}.{near}")
        return super().resolve_command(ctx, args)
