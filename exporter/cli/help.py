"""Prints the help of a command: options in groups, examples, exit statuses, and where to read more."""

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from typer.core import TyperCommand, TyperGroup

from exporter import contract
from exporter.cli import usage
from exporter.cli.about import ABOUT
from exporter.cli.about_kind import Section
from exporter.cli.command_line import remember
from exporter.cli.manual import read_table
from exporter.cli.statuses import STATUSES
from exporter.errors import UsageError
from exporter.options.option import Group

Rows: TypeAlias = list[tuple[str, str]]

_MOST_COLUMNS: Final = 80
_LEAST_COLUMNS: Final = 40
_WIDEST_NAME: Final = 26
_SHELLS: Final = "bash, zsh or fish"
#: What typer says of these in its own words.
_OWN: Final = {
    "help": ("", "Show this help."),
    "install_completion": (" [SHELL]", f"Install completion for this shell, or for {_SHELLS}."),
    "show_completion": (" [SHELL]", f"Print completion for this shell, or for {_SHELLS}."),
}
_TOP_EXAMPLES: Final = (
    ("See it work, without a token", "exporter demo"),
    ("Export January", "exporter export calls --since 2026-01 --until 2026-02"),
    ("Keep the export up to date, each night", "exporter sync calls"),
)
_LEARN_MORE: Final = [
    ("exporter COMMAND --help", "Show the options of a command, with examples."),
    ("exporter help", "List the topics of the manual."),
    ("exporter help TOPIC", "Show a topic: export, columns, schedule, options, troubleshooting."),
]


class HelpedCommand(TyperCommand):
    """Shows its help in our own shape, and says in one line which argument is too many."""

    allow_extra_args = True

    def get_help(self, ctx: Any) -> str:
        """Returns the help of the command."""
        return "\n".join(_command_lines(self, ctx)).rstrip()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Returns no arguments. Raises `UsageError` if some are left over, or an option stands in place of a value."""
        usage.take_as_typed(self, ctx)
        with usage.of_command(ctx):
            rest = super().parse_args(ctx, args)
        names = {name for each in self.params for name in each.opts}
        for each in self.params:
            given = ctx.params.get(each.name or "")
            if not names.isdisjoint(given if isinstance(given, list | tuple) else [given]):
                raise UsageError(f"{each.opts[0]}: must have a value: {each.opts[0]} {each.metavar}")
        if not ctx.resilient_parsing:
            _refuse_own_words(ctx, rest)
            remember(ctx)
        if rest and not ctx.resilient_parsing:
            raise UsageError(f"{ctx.info_name}: {rest[0]!r} is one argument too many; quote a value that has spaces")
        return rest


def _refuse_own_words(context: Any, rest: list[str]) -> None:
    """Raises `UsageError` if a word of this program stands where a destination does, or is an argument too many."""
    commands, destination = context.find_root().command.commands, context.params.get("destination")
    for word in (*([] if destination is None or os.path.lexists(destination) else [destination]), *rest[:1]):
        if word not in commands:
            continue
        meant = f"exporter help {context.info_name}" if word == "help" else f"exporter {word}"
        directory = "" if word in rest[:1] else f" Write ./{word} for a directory of that name"
        raise UsageError(f"{context.info_name} {word}: a word of this program. Did you mean {meant}?{directory}")


def _command_lines(command: TyperCommand, context: Any) -> Iterator[str]:
    parameters = command.get_params(context)
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    words = [
        (f"{each.metavar}" if each.required else f"[{each.metavar}]") + ("..." if each.nargs == -1 else "")
        for each in arguments
    ]
    yield " ".join(["Usage:", context.command_path, *words, "[OPTIONS]"])
    yield ""
    for paragraph in (command.help or "").split("\n\n"):
        yield from _wrap(" ".join(paragraph.split()))
        yield ""
    yield from _section("Arguments", [(str(each.metavar), _text(each)) for each in arguments])
    for group in Group:
        yield from _section(group, [_row(each) for each in parameters if _group_of(each) == group])
    if (about := ABOUT.get(context.info_name)) is None:
        return
    for title, head in about.tables:
        yield from _section(title, read_table(about.topic, head))
    yield from _examples(about.examples)
    yield from _section("Exit statuses", [(str(status), text) for status, text in STATUSES[context.info_name].items()])
    yield f"More: exporter help{'' if about.topic == 'index' else f' {about.topic}'}"


def top_help(group: TyperGroup, context: Any) -> str:
    """Returns the help of the program."""
    return "\n".join(_top_lines(group, context)).rstrip()


def _top_lines(group: TyperGroup, context: Any) -> Iterator[str]:
    yield from _wrap(group.help or "")
    yield ""
    yield f"Usage: {context.command_path} COMMAND [OPTIONS]"
    yield ""
    for section in Section:
        yield from _section(section, [(name, about.line) for name, about in ABOUT.items() if about.section == section])
    yield from _section("Options", [_row(each) for each in group.get_params(context)])
    yield from _examples(_TOP_EXAMPLES)
    yield from _section("Learn more", _LEARN_MORE)
    yield from _wrap(
        f"The token is read from {contract.TOKEN_VARIABLE}, --token-file or --token-command, never from an argument."
    )


def _group_of(parameter: Any) -> str | None:
    if parameter.param_type_name == "argument":
        return None
    return Group.OUTPUT if parameter.name == "help" else parameter.rich_help_panel


def _row(option: Any) -> tuple[str, str]:
    names = ", ".join(sorted(option.opts, key=lambda name: name.startswith("--")))
    if option.name in _OWN:
        metavar, text = _OWN[option.name]
        return names + metavar, text
    return names if option.is_flag else f"{names} {option.metavar}", _text(option)


def _text(parameter: Any) -> str:
    default = parameter.default
    shown = "" if default in (None, "", ()) or isinstance(default, bool) else f" Default: {default}."
    return f"{parameter.help or ''}{shown}"


def _examples(examples: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "Examples:"
    for meaning, line in examples:
        yield f"  # {meaning}"
        yield f"  {line}"
    yield ""


def _section(title: str, rows: Rows) -> Iterator[str]:
    if not rows:
        return
    yield f"{title}:"
    first = min(max(len(name) for name, _ in rows), _WIDEST_NAME)
    for name, text in rows:
        head = f"  {name:{first}}  "
        lines = _wrap(text, indent=" " * (first + 4))
        if len(name) > first:
            yield f"  {name}"
            yield from lines
        else:
            yield head + lines[0].lstrip() if lines else head.rstrip()
            yield from lines[1:]
    yield ""


def _wrap(text: str, indent: str = "") -> list[str]:
    columns = max(min(shutil.get_terminal_size().columns, _MOST_COLUMNS), _LEAST_COLUMNS)
    return textwrap.wrap(
        text, columns, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
