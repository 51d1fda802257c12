"""Reads values of the server's switches from texts, and says what a value must be."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import inspect

from exporter.words import any_of, did_you_mean

#: Switches whose number is one of seconds, though they are not called so.
_SECONDS: Final = ("latency", "visible_delay", "date_ahead")


def read_switches(pairs: Iterable[str], types: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that texts such as `page_cap=100` give to switches of these types; the last of a name counts.

    Raises `ValueError` for a switch that is none of these, and for a value that it cannot have.
    """
    names = {name.replace("-", "_"): name for name in types}
    chosen: dict[str, Any] = {}
    for pair in pairs:
        typed, equals, value = pair.partition("=")
        name = names.get(typed.strip().replace("-", "_"))
        if name is None:
            near = did_you_mean(typed.strip(), types) or " exporter sandbox --help lists the switches"
            raise ValueError(f"{pair}: there is no such switch.{near}")
        if not equals:
            raise ValueError(f"{pair}: must have a value, as in {name}=VALUE")
        chosen[name] = _read_switch(name, value, types[name])
    return chosen


def _read_switch(name: str, text: str, kind: Any) -> Any:
    """Returns the value of a switch of this type. Raises `ValueError` that says what it must be."""
    info = _without_none(inspect.type_info(kind))
    value = [part.strip() for part in text.split(",") if part.strip()] if _is_list(info) else text.strip()
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}={text}: {_complaint(name, value, kind, info)}") from error


def _complaint(name: str, value: Any, kind: Any, info: Any) -> str:
    choices = _choices(kind)
    match info:
        case inspect.VarTupleType():
            wrong = next(each for each in value if each not in choices)
            near = did_you_mean(wrong, choices) or f" It must be {any_of(choices)}"
            return f"no such fault: {wrong}.{near}"
        case inspect.LiteralType():
            return f"must be {any_of(choices)}.{did_you_mean(value, choices)}".rstrip(".")
        case inspect.BoolType():
            return "must be true or false"
    whole = "whole " if isinstance(info, inspect.IntType) else ""
    unit = " of seconds" if name in _SECONDS or name.endswith("_seconds") else ""
    return f"must be a {whole}number{unit}{_bounds(info)}"


def _bounds(info: Any) -> str:
    if info.gt is not None:
        return f" above {info.gt}"
    if info.ge is None:
        return ""
    return f", at least {info.ge}" if info.le is None else f" from {info.ge} to {info.le}"


def _choices(kind: Any) -> list[str]:
    """Returns the values of a type that has literals in it, in their order."""
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [choice for inner in get_args(kind) for choice in _choices(inner)]


def _without_none(info: Any) -> Any:
    if not isinstance(info, inspect.UnionType):
        return info
    (kind,) = [each for each in info.types if not isinstance(each, inspect.NoneType)]
    return kind


def _is_list(info: Any) -> bool:
    return isinstance(info, inspect.VarTupleType)
