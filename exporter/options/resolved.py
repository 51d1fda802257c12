"""Holds what jobs take, once it is checked."""

import msgspec

from exporter.engine import Engine
from exporter.keys import Keys
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.settings import Credentials, RunSettings, Selection


class Resolved(msgspec.Struct, frozen=True):
    """Holds what jobs take: a spec, checked and complete."""

    asked: Selection
    settings: RunSettings
    credentials: Credentials
    keys: Keys

    def context(self, observer: Observer, engine: Engine | None = None) -> RunContext:
        """Returns the context of a run that tells `observer` of its progress, and reads on `engine`, if there is one.

        Raises `UsageError` for a token that tasks would not find where they run.
        """
        from exporter.run.shared_turns import shared_turns

        if engine is not None:
            from exporter.run.distribution_tasks import token_place

            token_place(self.credentials)
        turns = shared_turns(self.settings, self.credentials)
        return RunContext(self.settings, self.credentials, observer, keys=self.keys, turns=turns, engine=engine)
