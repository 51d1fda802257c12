"""Says in one line what is wrong with a command line, where typer has several lines of its own words."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import typer

from exporter.words import did_you_mean

#: The base of all errors by which typer refuses a command line; it has no public name.
Refusal: Final[type[Exception]] = typer.BadParameter.__mro__[1]

_OF_SYNC: Final = " a sync always reads up to now; exporter export reads up to a time"
_OF_ONE: Final = " one export is read in more processes by --processes N"
#: What to do instead, by the command and the option that it does not have.
_INSTEAD: Final = {
    ("sync", "--until"): _OF_SYNC,
    ("sync", "--created-before"): _OF_SYNC,
    ("export", "--engine"): _OF_ONE,
    ("sync", "--engine"): _OF_ONE,
    ("run", "--processes"): " all exports together are read in N processes by --engine processes:N",
}


@contextmanager
def of_command(context: Any) -> Iterator[None]:
    """Lets a `Refusal` know the command whose words it refuses, which typer does not always tell."""
    try:
        yield
    except Refusal as error:
        error.ctx = context  # type: ignore[attr-defined]
        raise


def take_as_typed(command: Any, context: Any) -> None:
    """Lets a command take each value as it was typed, and not through the validator that typer would make for each.

    Loading what makes them took longer than all else that is done for a command line.
    """
    for each in command.get_params(context):
        each.process_value = partial(_process, each)


def _process(parameter: Any, context: Any, value: Any) -> Any:
    if parameter.required and parameter.value_is_missing(value):
        # Typer's own raises what says that it is missing.
        return None if context.resilient_parsing else type(parameter).process_value(parameter, context, value)
    if value is None and (parameter.multiple or parameter.nargs == -1):
        value = ()
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def describe(error: Any) -> str:
    """Returns what a `Refusal` means, and what to do; a command line without a word asks for help."""
    return str(error.format_message()) if asks_for_help(error) else _what(error)


def asks_for_help(error: Exception) -> bool:
    """Returns whether a `Refusal` is a command line without a word."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _what(error: Any) -> str:
    match type(error).__name__:
        case "NoSuchOption":
            return _no_such_option(error.option_name, error.ctx)
        case "MissingParameter":
            about = (error.param.help or "").rstrip(".")
            flag = f"{error.param.opts[0]} " if error.param.param_type_name == "option" else ""
            return f"{error.ctx.info_name} needs {flag}{error.param.metavar}: {about[:1].lower()}{about[1:]}"
        case "BadOptionUsage":
            (option,) = [each for each in error.ctx.command.params if error.option_name in each.opts]
            if option.is_flag:
                return f"{error.option_name}: takes no value"
            return f"{error.option_name}: must have a value: {error.option_name} {option.metavar}"
    return str(error.format_message()).rstrip(".")


def _no_such_option(name: str, context: Any) -> str:
    known = [flag for each in context.command.get_params(context) for flag in each.opts if flag.startswith("--")]
    of = f"{context.info_name} has no option" if context.parent else "before a command, there is no option"
    if instead := _INSTEAD.get((context.info_name, name)):
        return f"{of} {name}:{instead}"
    return f"{of} {name}.{did_you_mean(name, known) or f' {context.command_path} --help lists all'}"
