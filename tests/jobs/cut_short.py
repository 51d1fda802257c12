"""Cuts a job short where it changes the disk: with errors that do not end, or as if the process were killed there."""

import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, TypeVar
from unittest.mock import patch

from exporter.errors import DestinationError, StoreError

T = TypeVar("T")

_CALLS: Final = ("link", "rename", "replace", "unlink", "mkdir", "rmdir", "ftruncate", "fsync")


class _Death(BaseException):
    """Raised at every change of a dead process, until it has unwound."""


@dataclass
class Cut:
    """Cuts a job short at the change of this `number`, from 1. It `kills`, or the disk refuses all that follows."""

    number: int
    kills: bool

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._left = self.number

    @property
    def was_made(self) -> bool:
        return self._left <= 0

    async def through(self, job: Callable[[], Awaitable[T]]) -> T | None:
        """Runs the job. Returns what it returns, and None if it was cut short."""
        with ExitStack() as stack:
            for name in _CALLS:
                stack.enter_context(patch.object(os, name, self._guarded(getattr(os, name))))
            try:
                return await job()
            except (DestinationError, StoreError):
                if not self.was_made:
                    raise
            except BaseException:
                if not (self.was_made and self.kills):
                    raise
        return None

    def _guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._left -= 1
            if self.was_made:
                raise _Death if self.kills else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call
