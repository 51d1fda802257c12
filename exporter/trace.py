"""Lets somebody follow a run in spans and counts, which go nowhere unless `followed_by` says where.

Attributes and counts never hold a token, a query's values or a row's content.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final, Protocol, TypeAlias

Attribute: TypeAlias = str | int | float | bool


class Span(Protocol):
    """Represents a span that lasts; a call gives it more attributes."""

    def __call__(self, **attributes: Attribute) -> None: ...


class Follower(Protocol):
    """Receives what happens. No call may block or raise."""

    def span(self, name: str, attributes: Mapping[str, Attribute]) -> AbstractContextManager[Span]: ...

    def count(self, name: str, amount: int) -> None: ...


_follower: Final[ContextVar[Follower | None]] = ContextVar("follower", default=None)


@contextmanager
def followed_by(follower: Follower) -> Iterator[None]:
    """Lets `follower` follow what happens in the block, and in tasks and threads that begin there."""
    token = _follower.set(follower)
    try:
        yield
    finally:
        _follower.reset(token)


def span(name: str, **attributes: Attribute) -> AbstractContextManager[Span]:
    """Returns a span for a block, which is a child of the one around it, if there is one."""
    follower = _follower.get()
    return _NO_SPAN if follower is None else follower.span(name, attributes)


def count(**amounts: int) -> None:
    """Adds to counts, by name."""
    if (follower := _follower.get()) is not None:
        for name, amount in amounts.items():
            if amount:
                follower.count(name, amount)


def _ignore(**_attributes: Attribute) -> None:
    pass


_NO_SPAN: Final = nullcontext[Span](_ignore)
