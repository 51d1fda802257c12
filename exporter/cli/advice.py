"""Writes the commands that a report advises, with those of the options that were typed which matter there as well."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from exporter.options.option import Group
from exporter.store.location import Location, quoted, shell_word

#: Commands that ask the API, so that how and as whom one asks matters to all of them.
_ASKING: Final = ("export", "sync", "audit", "reread", "reconcile", "recordings")
_HOW: Final = (Group.CONNECTION, Group.READ)
#: What is to be read again lies where the log says, and not only where a run has read.
_BOUNDS: Final = ("since", "until", "created_after", "created_before")
_ALSO_HOW: Final = ("lag", "trust_clock")


class _Typed(NamedTuple):
    """Holds an option of a command line as it was typed."""

    name: str
    group: str | None
    words: tuple[str, ...]


_typed: ContextVar[tuple[str, tuple[_Typed, ...]]] = ContextVar("typed", default=("", ()))


@contextmanager
def remembering() -> Iterator[None]:
    """Lets advice know the command line that is read within the block."""
    token = _typed.set(("", ()))
    try:
        yield
    finally:
        _typed.reset(token)


def remember(context: Any) -> None:
    """Keeps the options of a command line that has been read."""
    found = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name)
        if option.param_type_name == "option" and source is not None and source.name == "COMMANDLINE":
            value = context.params[option.name]
            flag = max((value is False and option.secondary_opts) or option.opts, key=len)
            values = value if isinstance(value, list | tuple) else [value]
            words = [flag] if option.is_flag else [word for each in values for word in (flag, str(each))]
            found.append(_Typed(option.name, option.rich_help_panel, tuple(words)))
    _typed.set((context.info_name, tuple(found)))


def advise(command: str, destination: Location, *more: str, without: Collection[str] = ()) -> str:
    """Returns a command line with `more`: for a shell, and with the options that were typed, if they matter to it and
    are not named by `without`."""
    typed_for, typed = _typed.get()
    words = ["exporter", command, shell_word(destination)]
    for option in typed:
        is_elsewhere = command == "reread" and option.name in _BOUNDS
        if option.group == Group.OUTPUT or option.words[0] in more or option.name in without or is_elsewhere:
            continue
        is_how = option.group in _HOW or option.name in _ALSO_HOW
        if command == typed_for or (is_how and command in _ASKING and typed_for in _ASKING):
            words += [option.words[0], *(quoted(word) for word in option.words[1:])]
    return " ".join([*words, *more])
