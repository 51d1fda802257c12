"""Flags: those that several commands have, and those that a class of options stands for.

A command takes an `ExportSpec`, or another dataclass of options, as one parameter; `with_options` makes the flags of
it. Text becomes values here, and nowhere below, except where a program may also give a text.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, Final, TypeAlias, get_args, get_type_hints

import typer

from exporter.cli.display import LogFormat
from exporter.contract import FILTERS_BY_NAME
from exporter.options import parse
from exporter.options.option import Option, options_of
from exporter.options.spec import OPTIONS


def flag(text: str, metavar: str | None = "TEXT") -> Any:
    """Returns an option with this help."""
    return typer.Option(help=text, metavar=metavar)


def switch(name: str, text: str) -> Any:
    """Returns an option without a value, which has no opposite."""
    return typer.Option(name, help=text)


def shared(name: str) -> Any:
    """Returns the option of `ExportSpec` by this name, for a command that takes some of them alone."""
    return _typer_option(name, OPTIONS[name], "")


PLACE: Final = "A directory, or a URL: s3://, gs:// or az://."
Destination = Annotated[str, typer.Argument(metavar="DEST", help=PLACE)]
Existing = Annotated[str, typer.Argument(metavar="DEST", help="The directory, or the URL, of an export.")]
Rows = Annotated[int, typer.Option(min=1, max=10_000_000, help="Make up this many conversations.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Spread them over this many days.")]
OneObject = Annotated[bool, switch("--json", "Print one JSON object in place of lines for people.")]
Text: TypeAlias = str | None
Command: TypeAlias = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Display:
    """How a command shows its progress and its result."""

    as_json: Annotated[bool, Option("Print the summary as one JSON object on stdout.", flags=("--json",))] = False
    verbose: Annotated[
        bool, Option("Say more, and show where an unexpected error arose.", flags=("--verbose", "-v"))
    ] = False
    log_format: Annotated[LogFormat, Option("Log to stderr as text, or as json: an object a line.", "FORMAT")] = "text"


def with_options(*without: str, **otherwise: str) -> Callable[[Command], Command]:
    """Gives a command, in place of each parameter whose type is a dataclass of options, the flags of these options.

    `without` names options that the command does not have; `otherwise` says for some what happens without them.
    """

    def decorate(command: Command) -> Command:
        parameters = list(inspect.signature(command).parameters.values())
        kinds: dict[str, Any] = {each.name: each.annotation for each in parameters if is_dataclass(each.annotation)}
        flags = [each for each in parameters if each.name not in kinds]
        for kind in kinds.values():
            flags += _flags(kind, without, otherwise)

        @wraps(command)
        def run(**given: Any) -> None:
            for name, kind in kinds.items():
                typed = {each: given.pop(each) for each in options_of(kind) if each in given}
                given[name] = kind(**{each: _parse(each, value) for each, value in typed.items() if value is not None})
            command(**given)

        # For typer, which makes the command line of what a function says that it takes.
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in flags]
        )
        run.__annotations__ = {each.name: each.annotation for each in flags}
        return run

    return decorate


def _flags(kind: Any, without: Sequence[str], otherwise: dict[str, str]) -> list[inspect.Parameter]:
    options, hints = options_of(kind), get_type_hints(kind)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=Annotated[
                _annotation(each.name, hints[each.name]),
                _typer_option(each.name, known, otherwise.get(each.name, known.otherwise)),
            ],
        )
        for each in fields(kind)
        if (known := options.get(each.name)) is not None and each.name not in without
    ]


def _annotation(name: str, hint: Any) -> Any:
    if name == "filters" or name in FILTERS_BY_NAME:
        # So that a filter given twice can be refused: of several values the last one would win in silence.
        return list[str] | None
    members = get_args(hint)
    return Text if str in members else float | None if float in members else hint


def _typer_option(name: str, known: Option, otherwise: str) -> Any:
    return typer.Option(
        *(known.flags or [parse.flag_of(name)]),
        help=f"{known.help} Default: {otherwise}." if otherwise else known.help,
        metavar=known.metavar,
        autocompletion=_completion(known) if known.values or known.names else None,
    )


def _completion(known: Option) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",")
        named = before.split(",")
        return [*known.values, *(before + comma + name for name in known.names if name not in named)]

    return complete


def _parse(name: str, typed: Any) -> Any:
    """Returns what is typed for an option as its field takes it. Raises `UsageError`."""
    if name == "filters":
        return parse.parse_parameters(typed)
    if name not in FILTERS_BY_NAME:
        return typed
    if len(typed) > 1:
        raise parse.given_twice(name, *typed[:2])
    return parse.parse_filter(name, typed[0])
