"""What an option says of itself: its flag, its help and its row in the manual are made of this."""

from dataclasses import dataclass
from typing import Annotated, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Option:
    """The command line's side of a field, in its annotation.

    `flags` are given where the flag is not the name with dashes. `otherwise` says what happens without the option,
    where its default does not. A shell completes `values`, and `names` also after a comma. `of_dataset` is for what
    cannot change once there is a dataset.
    """

    help: str
    metavar: str | None = None
    otherwise: str = ""
    flags: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    of_dataset: bool = False


def options_of(kind: type) -> dict[str, Option]:
    """Returns the options among the fields of a class, by name, in order."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: get_args(hint)[1] for name, hint in hints.items() if get_origin(hint) is Annotated}
