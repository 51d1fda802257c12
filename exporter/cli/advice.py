"""Writes the commands that a report advises, with those of the options that were typed which matter there as well."""

from collections.abc import Collection
from typing import Final

from exporter.cli.command_line import command_line
from exporter.cli.entries import CONFIG, word_for
from exporter.options.option import Group
from exporter.store.location import Location, quoted

#: Commands that ask the API, so that how and as whom one asks matters to all of them.
_ASKING: Final = ("export", "sync", "audit", "reread", "reconcile", "recordings")
_HOW: Final = (Group.CONNECTION, Group.READ)
#: What is to be read again lies where the log says, and not only where a run has read.
_BOUNDS: Final = ("since", "until", "created_after", "created_before")
_ALSO_HOW: Final = ("lag", "trust_clock")


def advise(command: str, destination: Location, *more: str, without: Collection[str] = ()) -> str:
    """Returns a command line with `more`: for a shell, and with the options that were typed, if they matter to it and
    are not named by `without`."""
    typed_for, typed = command_line()
    words = ["exporter", command, word_for(destination)]
    for option in typed:
        is_elsewhere = command == "reread" and option.name in _BOUNDS
        if (
            option.name == CONFIG
            or option.group == Group.OUTPUT
            or option.words[0] in more
            or option.name in without
            or is_elsewhere
        ):
            continue
        is_how = option.group in _HOW or option.name in _ALSO_HOW
        if command == typed_for or (is_how and command in _ASKING and typed_for in _ASKING):
            words += [option.words[0], *(quoted(word) for word in option.words[1:])]
    return " ".join([*words, *more])
