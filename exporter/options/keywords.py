"""Checks the keywords of a program: that they exist, and that each value is of a kind that its option takes."""

import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

from exporter.errors import UsageError
from exporter.words import any_of, did_you_mean

T = TypeVar("T")

_KIND_WORDS: Final[dict[Any, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    date: "a date",
    timedelta: "a timedelta",
    Path: "a path",
    Mapping: "a mapping",
    Sequence: "a list of names",
}


def refusing_unknown(kind: type[T]) -> type[T]:
    """Returns a dataclass that raises `UsageError` for a keyword that it does not have."""
    made: Callable[..., None] = kind.__init__

    @wraps(made)
    def check(self: T, **given: Any) -> None:
        known = kind.__dataclass_fields__  # type: ignore[attr-defined]
        if unknown := next((name for name in given if name not in known), None):
            raise UsageError(f"{unknown}: there is no such option.{did_you_mean(unknown, known)}")
        made(self, **given)

    kind.__init__ = check  # type: ignore[assignment]
    return kind


def _is_one_of(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return False  # each is a sequence, but of numbers
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def check_kind(name: str, value: object, hint: Any) -> None:
    """Raises `UsageError` for a value that is not of the type that `hint` names."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
    kinds = tuple(get_origin(member) or member for member in members if get_origin(member) is not Literal)
    if value in choices or _is_one_of(value, kinds):
        if isinstance(value, Sequence) and not all(isinstance(each, str) for each in value):
            wrong = next(each for each in value if not isinstance(each, str))
            raise UsageError(f"{name}: each of several must be a text, not {type(wrong).__name__}")
        return
    if choices:
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise UsageError(f"{name}: must be {any_of(choices)}, not {value!r}.{near}".rstrip("."))
    kind_words = any_of([_KIND_WORDS.get(kind, kind.__name__) for kind in kinds if kind is not types.NoneType])
    raise UsageError(f"{name}: must be {kind_words}, not {type(value).__name__}")
