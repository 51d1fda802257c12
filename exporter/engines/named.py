"""Opens an engine by its name, for the command line: `processes:4`, `ray`, `spark:spark://host:7077`."""

from collections.abc import Callable
from importlib import import_module
from typing import Final

from exporter.engine import Engine
from exporter.errors import UsageError
from exporter.options.parse import to_processes
from exporter.words import did_you_mean

#: What opens each kind, and takes what follows the colon, or this.
_OPENERS: Final = {
    "processes": ("exporter.engines.processes", "processes", "auto"),
    "ray": ("exporter.engines.ray", "RayEngine", None),
    "spark": ("exporter.engines.spark.engine", "engine_at", None),
}


def open_engine(text: str) -> Engine:
    """Returns the engine that a text names: `processes[:N]`, `ray[:ADDRESS]` or `spark[:MASTER]`. The caller closes it.

    Without a number, there is a process for each core; Ray and Spark find a cluster as their own programs do. Raises
    `UsageError` for another text, and if what the engine needs is not installed, and `EngineError`.
    """
    kind, colon, place = text.partition(":")
    if kind not in _OPENERS or (colon and not place):
        near = did_you_mean(kind, _OPENERS) or " It is processes[:N], ray[:ADDRESS] or spark[:MASTER]"
        raise UsageError(f"--engine {text!r}: there is no such engine.{near}")
    module, name, otherwise = _OPENERS[kind]
    if kind == "processes":
        to_processes(place or "auto", f"--engine {text!r}: N")
    opener: Callable[..., Engine] = getattr(import_module(module), name)
    return opener(place or otherwise)
