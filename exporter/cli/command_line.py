"""Remembers the command line that is read, for those that ask later which of its options somebody has typed."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple


class Typed(NamedTuple):
    """Holds an option of a command line as it was typed."""

    name: str
    group: str | None
    words: tuple[str, ...]


_line: ContextVar[tuple[str, tuple[Typed, ...]]] = ContextVar("line", default=("", ()))


@contextmanager
def remembering() -> Iterator[None]:
    """Remembers the command line that is read within the block."""
    token = _line.set(("", ()))
    try:
        yield
    finally:
        _line.reset(token)


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
            found.append(Typed(option.name, option.rich_help_panel, tuple(words)))
    _line.set((context.info_name, tuple(found)))


def command_line() -> tuple[str, tuple[Typed, ...]]:
    """Returns the command, and the options that were typed after it."""
    return _line.get()


def typed_names() -> frozenset[str]:
    """Returns the names of the options that were typed."""
    return frozenset(option.name for option in _line.get()[1])
