"""Checks the arguments of calls, and lets what is wrong with them name keywords."""

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, get_type_hints

from exporter.errors import UsageError
from exporter.options.dialect import for_caller
from exporter.options.keywords import check_kind

P = ParamSpec("P")
T = TypeVar("T")

_METHODS: Final = ("progress", "note", "warn", "close")


def checked(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Returns `call`, which raises `UsageError` for an argument of another type than it names."""

    @wraps(call)
    async def run(*args: P.args, **options: P.kwargs) -> T:
        with for_caller():
            check_arguments(call, *args, **options)
            return await call(*args, **options)

    return run


def check_arguments(call: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
    """Raises `UsageError` for an argument of another type than `call` names."""
    hints = get_type_hints(call)
    for name, value in inspect.signature(call).bind(*args, **options).arguments.items():
        if name == "observer":
            _check_observer(value)
        elif name == "engine":
            _check_engine(value)
        else:
            check_kind(name, value, hints[name])


def _check_observer(observer: object) -> None:
    if observer is None or (
        not isinstance(observer, type) and all(callable(getattr(observer, name, None)) for name in _METHODS)
    ):
        return
    raise UsageError(
        f"observer: must be an object with the methods {', '.join(_METHODS)}; derive its class from exporter.Quiet"
    )


def _check_engine(engine: object) -> None:
    if engine is None or (
        not isinstance(engine, type)
        and all(callable(getattr(engine, name, None)) for name in ("call", "close"))
        and isinstance(getattr(engine, "name", None), str)
        and inspect.getattr_static(engine, "slots", None) is not None  # it may have to ask a cluster for their number
    ):
        return
    raise UsageError("engine: must be an object with name, slots, call and close, as exporter.processes() returns one")
