"""Lets every command take the name of an export in a config file (`exporter help config`) in place of its destination.

The command itself sees the destination. `flags` lays the options that were typed over those of the entry.
"""

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from exporter.cli.command_line import typed_names
from exporter.errors import UsageError
from exporter.options.config_keys import FILTERS, HOOKS, METRICS_FILE, SYNC_KEYS, alternatives_of
from exporter.options.config_place import find_config
from exporter.options.option import Group
from exporter.store.location import Location, quoted, shell_word
from exporter.words import did_you_mean

if TYPE_CHECKING:
    from exporter.options.config import Config, Entry

Command: TypeAlias = Callable[..., None]

#: Looks as a name does, and as a directory may.
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
#: Options of single commands that an entry gives also.
_OF_COMMANDS: Final = (*SYNC_KEYS, "recording_retention")
#: What commands that take a token find in an entry besides their options.
_WITHOUT_FLAG: Final = ("token", "base_url")
#: Commands that tell nobody of themselves, and look at whom a run would tell.
_LIKE_A_RUN: Final = ("check",)
#: What an entry says of its dataset, and not of what one command reads again in it.
_BOUNDS: Final = ("since", "until", "created_after", "created_before")
#: What a sync does not take, and an export may have.
_ENDS: Final = ("until", "created_before")

ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="Find the name that is given in place of DEST in this file. Default: EXPORTER_CONFIG, otherwise "
        "exporter.toml here or in ~/.config/exporter.",
        metavar="FILE",
        rich_help_panel=Group.DONE,
    ),
]
#: The name of the option `--config`.
CONFIG: Final = "config"
_PARAMETER: Final = inspect.Parameter(CONFIG, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ConfigFile)


class _Chosen:
    """Holds the entry whose name was given, and the file if that was."""

    def __init__(self, entry: "Entry", file: str | None) -> None:
        self.entry = entry
        self.file = file


_chosen: ContextVar[_Chosen | None] = ContextVar("chosen", default=None)


def current_entry() -> "Entry | None":
    """Returns the entry of the config file that the running command was given the name of, if it was."""
    chosen = _chosen.get()
    return None if chosen is None else chosen.entry


def taking_names(command: Command) -> Command:
    """Returns a command that also takes the name of an entry in place of its destination, and has `--config`."""
    parameters = list(inspect.signature(command).parameters.values())
    known = {each.name for each in parameters}
    tells = METRICS_FILE in known or command.__name__ in _LIKE_A_RUN
    keys = known.union(_ENDS, _WITHOUT_FLAG if "token_file" in known else (), (HOOKS, METRICS_FILE) if tells else ())

    @wraps(command)
    def run(config: str | None = None, **given: Any) -> None:
        word = given["destination"]
        entry = None if word is None else find_entry(word, config, keys)
        if CONFIG in known:
            given[CONFIG] = config
        if entry is None:
            command(**given)
            return
        _check_end(command.__name__, entry)
        given["destination"] = entry.destination
        for name, value in _under_typed({**entry.options, **entry.sync}).items():
            if name in known and name in _OF_COMMANDS:
                given[name] = value if isinstance(value, bool) else str(value)
        with _choosing(entry, config):
            command(**given)

    shown = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    shown += [] if CONFIG in known else [_PARAMETER]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in shown}
    return run


def find_entry(word: str, config: str | None, keys: Collection[str]) -> "Entry | None":
    """Returns the entry that a word names in the config file, with what it says under `keys`; None for a path or a URL.

    Raises `UsageError` for a file that is wrong, and for a word that is neither the name of an entry nor that of a
    directory which is there, because a slip would make a new export.
    """
    known = config_with(word, config)
    return None if known is None else known.entry(word, keys)


def config_with(word: str, config: str | None) -> "Config | None":
    """Returns the config file that has an entry of this name; None for a path or a URL. Raises as `find_entry`."""
    if _WORD.fullmatch(word) is None:
        if config is not None:
            raise UsageError(f"--config: has names of exports, and {quoted(word)} is a path or a URL. Leave one out")
        return None
    if (path := find_config(config, os.environ)) is None:
        return None

    from exporter.options.config import load_config

    known = load_config(path, os.environ)
    if word in known.names:
        return known
    if config is None and os.path.lexists(word):
        return None
    near = did_you_mean(word, known.names) or f" It has {', '.join(known.names)}."
    raise UsageError(f"{path}: there is no export {word}.{near} Write ./{word} for a directory of that name")


def options_under(typed: Mapping[str, Any], *, reads_on: bool) -> dict[str, Any]:
    """Returns the options of the current entry that a command has and nobody has typed.

    `typed` are all that the command has, by name. Unless it `reads_on`, the range of the entry is that of its dataset.
    """
    entry = current_entry()
    options = {} if entry is None else _under_typed(entry.options)
    known = {*typed, *(_WITHOUT_FLAG if "token_file" in typed else ())}.difference(() if reads_on else _BOUNDS)
    return {name: value for name, value in options.items() if name in known}


def word_for(destination: Location) -> str:
    """Returns what names a destination on a command line: the name of the current entry, if it is its."""
    chosen = _chosen.get()
    if chosen is None or chosen.entry.destination != str(destination):
        return shell_word(destination)
    return " ".join([chosen.entry.name, *(() if chosen.file is None else ("--config", quoted(chosen.file)))])


def _under_typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options in whose place none was typed, nor another that means the same."""
    typed = {each for name in typed_names() for each in alternatives_of(name)}
    left = {name: value for name, value in options.items() if name not in typed}
    if FILTERS in left:
        left[FILTERS] = {name: value for name, value in left[FILTERS].items() if name not in typed}
    return left


def _check_end(command: str, entry: "Entry") -> None:
    if command == "sync" and (end := next((name for name in _ENDS if name in entry.options), None)):
        raise UsageError(
            f"{entry.name}: the config file gives it {end}, and a sync always reads up to now. Did you mean exporter "
            f"export {entry.name}?"
        )


@contextmanager
def _choosing(entry: "Entry", file: str | None) -> Iterator[None]:
    token = _chosen.set(_Chosen(entry, file))
    try:
        yield
    finally:
        _chosen.reset(token)
