"""Defines what help says about a command besides its options and exit statuses."""

from enum import StrEnum

import msgspec


class Section(StrEnum):
    """Titles a group of commands in the list of all, in this order."""

    START = "Start here"
    EXPORT = "Export"
    CHECK = "Check"
    UPKEEP = "Upkeep"
    MORE = "More"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what help says about a command.

    `line` is the first one of its docstring, which lists show without loading the command. `topic` is its page of the
    manual. `examples` are command lines, each after what it does. `tables` are titles, each with the head of a table of
    the page that help shows under this title.
    """

    line: str
    section: Section
    topic: str
    examples: tuple[tuple[str, str], ...]
    tables: tuple[tuple[str, str], ...] = ()
