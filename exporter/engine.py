"""Says what a driver needs of whatever runs its tasks elsewhere."""

from typing import Protocol


class Engine(Protocol):
    """Runs tasks elsewhere. A task and its answer are bytes: `exporter.engines.work.work` makes one of the other."""

    @property
    def name(self) -> str:
        """Returns how messages name it."""

    @property
    def slots(self) -> int:
        """Returns how many tasks it runs at once, at least 1; this may change while it runs."""

    def call(self, task: bytes) -> bytes:
        """Returns the answer to a task. Blocks until it is there; threads may call it at the same time.

        An engine may try a task again whose machine is lost, so that a task may run twice, even at the same time. An
        empty task has an empty answer: it is sent to wake workers. Raises `EngineError` if it gives the task up, and
        `EngineClosedError` if it runs no task any more.
        """

    def close(self) -> None:
        """Ends what the engine has started itself. What runs is given up; a call that waits raises `EngineError`."""
