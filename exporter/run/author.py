"""Under what name a run writes to a destination."""

import os
import platform
import secrets

import pyarrow as pa

from exporter import __version__
from exporter.log.state import Author
from exporter.store.local.lock import host_name


def new_run() -> str:
    """A name that no other run has."""
    return secrets.token_hex(6)


def author_of(run: str) -> Author:
    """This process and its software, as the author of commits."""
    software = {"exporter": __version__, "python": platform.python_version(), "pyarrow": pa.__version__}
    return Author(run=run, host=host_name(), pid=os.getpid(), software=software)
