"""Names options as their caller does: by flags on the command line, and by keywords in a program."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from exporter.errors import UsageError

_FLAG: Final = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")
_KEYWORDS: Final = {"filter": "filters"}
_speaks_flags: ContextVar[bool] = ContextVar("speaks_flags", default=False)


@contextmanager
def in_flags() -> Iterator[None]:
    """Lets errors name flags, because a person has typed them."""
    token = _speaks_flags.set(True)
    try:
        yield
    finally:
        _speaks_flags.reset(token)


@contextmanager
def for_caller() -> Iterator[None]:
    """Lets a `UsageError`, which names flags, name keywords where a program is the caller."""
    try:
        yield
    except UsageError as error:
        raise error if _speaks_flags.get() else error.with_message(in_keywords(str(error))) from error.__cause__


def in_keywords(message: str) -> str:
    """Returns a message with the keyword of `ExportSpec` in place of each flag."""
    return _FLAG.sub(lambda flag: _KEYWORDS.get(flag[1], flag[1].replace("-", "_")), message)
