"""Holds what a run would be given, as far as the command line, the environment and the files name it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.errors import UsageError
from exporter.keys import Keys
from exporter.settings import Credentials, RunSettings, Selection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """Holds a value, or the error that says why there is none."""

    value: T | None = None
    error: UsageError | None = None

    def get(self) -> T:
        """Returns the value. Raises the error."""
        if self.value is None:
            raise self.error or UsageError("not given")
        return self.value


@dataclass(frozen=True, slots=True)
class Prepared:
    """Holds what a run would be given. `asked` lacks the policy if there is an error about it."""

    asked: Selection
    settings: Given[RunSettings]
    credentials: Given[Credentials]
    keys: Keys
    policy_error: UsageError | None
