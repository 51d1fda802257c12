"""Opens the engine that a run reads on, if it reads anywhere but in its own process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from socket import socket
from typing import Literal

from exporter.engine import Engine
from exporter.errors import UsageError
from exporter.options.parse import to_processes


@contextmanager
def engine_of(processes: int | str, given: Engine | None = None) -> Iterator[Engine | None]:
    """Gives the engine of a run: the one that the caller has `given` and closes, the one that `exporter run` lends to
    its exports, or as many processes as the option says, which end with the block. None if this process is to read by
    itself.

    Raises `UsageError` if both are given.
    """
    count = to_processes(processes)
    if given is not None:
        if count != 1:
            raise UsageError("processes: an engine is given, which reads elsewhere. Leave one of them out")
        yield given
        return
    if (connection := _lent()) is not None:
        from exporter.run.remote_engine import RemoteEngine

        with closing(RemoteEngine(connection)) as lent:
            yield lent
        return
    slots = 1 if count == 1 else _slots(count)
    if slots == 1:
        yield None
        return

    from exporter.engines.processes import Processes

    with closing(Processes(slots)) as engine:
        yield engine


def _lent() -> socket | None:
    from exporter.run.remote_engine import LENT

    return LENT.get()


def _slots(count: int | Literal["auto"]) -> int:
    from exporter.engines.processes import usable_cores
    from exporter.run.shared_turns import GIVEN

    # Other processes would not take the turns that `exporter run` gives to its exports.
    if GIVEN.get() is not None:
        return 1
    return usable_cores() if count == "auto" else count
