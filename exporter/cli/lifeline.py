"""Ends this process in good order when the one that has started it for `exporter run` is gone."""

import os
import select
import signal
import threading
from socket import socket
from typing import Final

from exporter.errors import UsageError
from exporter.run.turn_messages import TURNS_VARIABLE

#: The variable that names a descriptor of the config file's content. It is private to `exporter run` and its children.
CONTENT_VARIABLE: Final = "_EXPORTER_CONTENT"


def follow_parent() -> None:
    """Takes the connection to the process that gives turns out of the environment, and lives no longer than that one.

    So it does with the content of the config file, as that process has checked it, and with a connection to its engine.

    Nobody but `exporter run` puts one there. Raises `UsageError` if what the environment names is no connection.
    """
    content = os.environ.pop(CONTENT_VARIABLE, None)
    if TURNS_VARIABLE not in os.environ:
        return
    if content is not None:
        from exporter.options.config_place import CHECKED

        CHECKED.set(_content_of(content))

    from exporter.run.engine_frames import ENGINE_VARIABLE
    from exporter.run.inherited import adopt_connection
    from exporter.run.remote_engine import LENT
    from exporter.run.shared_turns import GIVEN

    LENT.set(adopt_connection(os.environ, ENGINE_VARIABLE))
    connection = adopt_connection(os.environ, TURNS_VARIABLE)
    if connection is not None:
        GIVEN.set(connection)
        threading.Thread(target=_watch, args=(connection,), daemon=True, name="lifeline").start()


def _content_of(descriptor: str) -> bytes:
    """Returns what the file holds whose descriptor was inherited. Raises `UsageError` if it is none."""
    from exporter.options.toml import MOST_BYTES

    try:
        number = int(descriptor)
        # Other processes read the same file, each from its beginning.
        content = os.pread(number, MOST_BYTES, 0)
        os.close(number)
    except (OSError, ValueError) as error:
        raise UsageError(f"{CONTENT_VARIABLE}: is set by `exporter run` alone. Unset it") from error
    return content


def _watch(connection: socket) -> None:
    """Waits for the other end to be closed, which its process need not do itself."""
    hangup = select.poll()
    # Messages are for others to read.
    hangup.register(connection, 0)
    hangup.poll()
    os.kill(os.getpid(), signal.SIGTERM)
