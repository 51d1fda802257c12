"""Takes each value of a command line as text, so that what is wrong with one is said here, and not by a library."""

import copy
import inspect
import types
from collections.abc import Callable
from functools import partial, wraps
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

from exporter.options import parse

Command: TypeAlias = Callable[..., None]
Reader: TypeAlias = Callable[[str], Any]
_METAVARS: Final = {int: "N", float: "X"}


def taking_text(command: Command) -> Command:
    """Returns a command that typer gives texts in place of numbers and choices, and that reads these itself."""
    parameters = [_typed(each) for each in inspect.signature(command).parameters.values()]
    readers = {each.name: reader for each, reader in parameters if reader is not None}

    @wraps(command)
    def run(**given: Any) -> None:
        for name, read in readers.items():
            if given[name] is not None:
                given[name] = read(given[name])
        command(**given)

    texts = [each for each, _ in parameters]
    run.__signature__ = inspect.Signature(texts)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in texts}
    return run


def _typed(parameter: inspect.Parameter) -> tuple[inspect.Parameter, Reader | None]:
    hint, *rest = get_args(parameter.annotation) if get_origin(parameter.annotation) is Annotated else (None,)
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kind = next((each for each in members if each in (int, float) or get_origin(each) is Literal), None)
    if kind is None:
        return parameter, None
    option = copy.copy(rest[0])
    # Typer keeps the first name where a default would be, until it reads the signature.
    names = [each for each in (option.default, *(option.param_decls or ())) if isinstance(each, str)]
    flag = next((each for each in names if each.startswith("--")), parse.flag_of(parameter.name))
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        option.autocompletion = option.autocompletion or (lambda: list(choices))
        reader: Reader = partial(parse.to_choice, choices=choices, option=flag)
    else:
        option.metavar = option.metavar or _METAVARS[kind]
        reader = partial(parse.to_number, kind=kind, option=flag, least=option.min, most=option.max)
    option.min = option.max = None
    annotation: Any = Annotated[str | None if types.NoneType in members else str, option]
    default = parameter.default
    if default is not None and default is not parameter.empty:
        default = str(default)
    return parameter.replace(annotation=annotation, default=default), reader
