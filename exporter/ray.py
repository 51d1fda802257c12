"""Runs the tasks of an export on Ray: `exporter.ray.engine()`. Ray itself is loaded when an engine is made."""

from exporter.engine import Engine
from exporter.engines.ray import RayEngine

__all__ = ["engine"]


def engine(address: str | None = None, slots: int | None = None, max_retries: int = 3) -> Engine:
    """Returns an engine that runs each task on a core of a Ray cluster.

    Without `address`, this is the cluster that this process is connected to; otherwise the one that Ray finds: by
    `RAY_ADDRESS`, or on this machine, where Ray starts one if there is none. `close` disconnects from what this call
    has connected to, and stops what it has started.

    At most `slots` tasks run at once; without it, one for each core of the cluster. Ray tries a task again whose
    worker or machine is lost, up to `max_retries` times.

    Raises `UsageError` if Ray is not installed, or the arguments cannot be, and `EngineError` if there is no cluster.
    """
    return RayEngine(address, slots, max_retries)
