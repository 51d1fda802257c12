"""Holds what a run is given, as one value: settings, credentials, the observer that it tells, its clock, and keys."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from exporter.contract import SECOND
from exporter.engine import Engine
from exporter.keys import Keys
from exporter.progress import Observer
from exporter.settings import Credentials, RunSettings

if TYPE_CHECKING:
    from exporter.pipeline.turns import Turns


class RunContext(msgspec.Struct, frozen=True):
    """Holds what the steps of a run share. `clock` counts seconds, as the event loop does.

    `turns` are given if this run shares the API with others; otherwise it takes turns of its own. With an `engine`,
    tasks elsewhere read what is missing of an export, if that is much; whoever gives it closes it.
    """

    settings: RunSettings
    credentials: Credentials
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    keys: Keys = msgspec.field(default_factory=Keys)
    turns: "Turns | None" = None
    engine: Engine | None = None

    @property
    def lag(self) -> int:
        """Returns the lag of the settings, in microseconds."""
        return self.settings.lag_seconds * SECOND
