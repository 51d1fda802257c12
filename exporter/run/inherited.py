"""Takes over what the process that has started this one has left open for it."""

import socket
from collections.abc import MutableMapping

from exporter.errors import UsageError


def adopt_connection(environment: MutableMapping[str, str], variable: str) -> socket.socket | None:
    """Returns the connection that a variable names, and takes that out, so that no other program inherits it.

    Raises `UsageError` if what it names is no connection.
    """
    named = environment.pop(variable, None)
    if named is None:
        return None
    try:
        connection = socket.socket(fileno=int(named))
        connection.set_inheritable(False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{variable}: is set by `exporter run` alone. Unset it") from error
    return connection
