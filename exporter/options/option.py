"""Options: fields of a dataclass that state their flag, their help and their row in the manual."""

import dataclasses
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Final, TypeVar

T = TypeVar("T")

_KEY: Final = "option"


class Group(StrEnum):
    """Titles a group of options in the help of a command, in this order."""

    DONE = "What is done"
    RANGE = "Range and times"
    FILTERS = "Filters"
    WRITTEN = "What is written"
    READ = "How it is read"
    RECORDINGS = "Recordings"
    PRIVACY = "Privacy"
    CONNECTION = "Token and connection"
    MADE_UP = "Made-up conversations"
    SERVER = "Server"
    OUTPUT = "Output and help"


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """States what the command line and the manual say about a field.

    `group` is where help lists the option, and must be given, except for options of how a result is shown. `flags` is
    given if the flag is not the name with dashes. `otherwise` says what happens without the option, if its default
    does not. A shell completes `values`, which a function may return, and `names`, each also after a comma. With
    `of_dataset`, the option cannot change once there is a dataset. If it `repeats`, it is given once for each value.
    """

    help: str
    metavar: str | None = None
    otherwise: str = ""
    flags: tuple[str, ...] = ()
    values: tuple[str, ...] | Callable[[], Iterable[str]] = ()
    names: tuple[str, ...] = ()
    of_dataset: bool = False
    repeats: bool = False
    group: Group | None = None

    def field(self, default: T) -> T:
        """Returns a field of a dataclass that is this option."""
        return dataclasses.field(default=default, metadata={_KEY: self})


def options_of(kind: Any) -> dict[str, Option]:
    """Returns the options among the fields of a dataclass, by name, in order: its own before those that it inherits."""

    def depth(each: "dataclasses.Field[Any]") -> int:
        return next(
            depth for depth, owner in enumerate(kind.__mro__) if each.name in vars(owner).get("__annotations__", ())
        )

    fields = sorted((each for each in dataclasses.fields(kind) if _KEY in each.metadata), key=depth)
    return {each.name: each.metadata[_KEY] for each in fields}
