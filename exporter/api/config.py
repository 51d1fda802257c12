"""Gives a program the exports that a config file names."""

import os
from pathlib import Path

from exporter.errors import UsageError
from exporter.options.config import load_config as read_config
from exporter.options.spec import ExportSpec


def load_config(path: Path | str, *names: str) -> dict[str, ExportSpec]:
    """Returns the exports of a config file by name, in the order of the file: all of them, or those that are named.

    Variables are those of the environment. What a file says beside a spec, such as hooks, is for the command line.
    Raises `UsageError`, which names file, line, column and key.
    """
    if not isinstance(path, Path | str):
        raise UsageError(f"path: must be a path or a text, not {type(path).__name__}")
    config = read_config(Path(path), os.environ)
    return {name: config.entry(name).spec for name in names or config.names}
