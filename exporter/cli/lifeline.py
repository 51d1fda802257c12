"""Ends this process in good order when the one that has started it for `exporter run` is gone."""

import os
import select
import signal
import threading
from socket import socket

from exporter.run.turn_messages import TURNS_VARIABLE


def follow_parent() -> None:
    """Takes the connection to the process that gives turns out of the environment, and lives no longer than that one.

    Nobody but `exporter run` puts one there. Raises `UsageError` if what the environment names is no connection.
    """
    if TURNS_VARIABLE not in os.environ:
        return

    from exporter.run.shared_turns import GIVEN, adopt_connection

    connection = adopt_connection(os.environ)
    if connection is not None:
        GIVEN.set(connection)
        threading.Thread(target=_watch, args=(connection,), daemon=True, name="lifeline").start()


def _watch(connection: socket) -> None:
    """Waits for the other end to be closed, which its process need not do itself."""
    hangup = select.poll()
    # Messages are for others to read.
    hangup.register(connection, 0)
    hangup.poll()
    os.kill(os.getpid(), signal.SIGTERM)
