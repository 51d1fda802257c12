"""Flags that are made from a dataclass of options.

A command takes an `ExportSpec`, or another dataclass of options, as one parameter; `with_options` makes its flags.
Text becomes values here, and nowhere below, except where a program may also give a text.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import wraps
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

import typer

from exporter.cli.entries import options_under
from exporter.cli.log import LogFormat
from exporter.contract import FILTERS_BY_NAME
from exporter.options import filters, parse
from exporter.options.option import Group, Option, options_of
from exporter.options.spec import ExportSpec

Command: TypeAlias = Callable[..., None]
ProgressKind: TypeAlias = Literal["auto", "bar", "lines", "none"]


class StoredSpec(ExportSpec):
    """Says which part of an export a command reads again or compares. Whether it holds any, the destination tells."""

    reads_on = False


@dataclass(frozen=True, kw_only=True)
class Display:
    """Says how a command shows its progress and its result."""

    as_json: bool = Option("Print one JSON object on stdout in place of the report.", flags=("--json",)).field(False)
    json_lines: bool = Option("Print JSON on stdout: an object a second, and a last one that sums up.").field(False)
    quiet: bool = Option(
        "Print errors, what is not as asked for, and one line of the report.", flags=("--quiet", "-q")
    ).field(False)
    verbose: bool = Option("Say more, and show where unexpected errors arose.", flags=("--verbose", "-v")).field(False)
    progress: ProgressKind = Option(
        "Show progress on stderr: bar (lines where none can be drawn), lines (the first after 5 s, then one a minute), "
        "none, or auto (a bar on a terminal, otherwise a line a minute).",
        "KIND",
    ).field("auto")
    log_file: str | None = Option("Also write what happens, and the report, to the end of this file.", "FILE").field(
        None
    )
    log_file_size: str | None = Option(
        "Rename the log file before it exceeds this size, and keep five older ones.",
        "SIZE",
        "no limit, but reopened if moved",
    ).field(None)
    log_format: LogFormat = Option("Log as text, or as json: an object a line.", "FORMAT").field("text")


def with_options(
    *without: str,
    helps: Mapping[str, str] = MappingProxyType({}),
    follows_entry: bool = True,
    **otherwise: str,
) -> Callable[[Command], Command]:
    """Replaces each parameter of a command whose type is a dataclass of options by the flags of these options.

    `without` names options that the command does not have; `helps` says, by name, what an option means to it, and
    `otherwise` what happens without one. Below what was typed lies what an entry of a config file says, unless the
    command does not follow it.
    """

    def decorate(command: Command) -> Command:
        parameters = list(inspect.signature(command).parameters.values())
        kinds: dict[str, Any] = {each.name: each.annotation for each in parameters if is_dataclass(each.annotation)}
        flags = [each for each in parameters if each.name not in kinds]
        for kind in kinds.values():
            flags += _flags(kind, without, helps, otherwise)

        @wraps(command)
        def run(**given: Any) -> None:
            for name, kind in kinds.items():
                typed = {each: given.pop(each) for each in options_of(kind) if each in given}
                parsed = {each: _parse(each, value) for each, value in typed.items() if value is not None}
                if kind is not Display and follows_entry:
                    parsed |= options_under(typed, reads_on=getattr(kind, "reads_on", True))
                given[name] = kind(**parsed)
            command(**given)

        # Typer makes the command line from the signature and the annotations of a function.
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in flags]
        )
        run.__annotations__ = {each.name: each.annotation for each in flags}
        return run

    return decorate


def _flags(
    kind: Any, without: Collection[str], helps: Mapping[str, str], otherwise: Mapping[str, str]
) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind)
    for name, known in options_of(kind).items():
        if name in without:
            continue
        text, default = helps.get(name, known.help), otherwise.get(name, known.otherwise)
        option = typer.Option(
            *(known.flags or [parse.flag_of(name)]),
            help=f"{text} Default: {default}." if default else text,
            metavar=known.metavar,
            rich_help_panel=known.group or (Group.OUTPUT if kind is Display else None),
            autocompletion=_completion(known) if known.values or known.names else None,
        )
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(kind, name),
            annotation=Annotated[_annotation(name, known, hints[name]), option],
        )


def _annotation(name: str, known: Option, hint: Any) -> Any:
    if known.repeats or name in FILTERS_BY_NAME:
        # So that a filter given twice can be refused: otherwise the last of several values would win in silence.
        return list[str] | None
    members = get_args(hint)
    return str | None if str in members else float | None if float in members else hint


def _completion(known: Option) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        values = known.values() if callable(known.values) else known.values
        before, comma, begun = incomplete.rpartition(",")
        left = [name for name in known.names if name not in before.split(",")]
        found = [name for name in left if name.startswith(begun)]
        if len(found) == 1 < len(left):
            # Otherwise a shell would end the word with a space, and the list could not be continued.
            found += [f"{found[0]},"]
        return [*values, *(before + comma + name for name in found)]

    return complete


def _parse(name: str, typed: Any) -> Any:
    """Returns the value of an option for its field, from what typer has read. Raises `UsageError`."""
    if name in ("filters", "recording_filters"):
        return filters.parse_parameters(typed, "--filter" if name == "filters" else "--recording-filter")
    if name not in FILTERS_BY_NAME:
        return typed
    if FILTERS_BY_NAME[name].takes_several:
        return typed
    if len(typed) > 1:
        raise filters.given_twice(name, *typed[:2])
    return filters.parse_filter(name, typed[0])
