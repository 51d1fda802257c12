"""Tests how a process takes over a connection from the one that has started it."""

import os
import socket

import pytest

from exporter.errors import UsageError
from exporter.run.inherited import adopt_connection


def test_the_connection_is_taken_out_of_the_environment() -> None:
    assert adopt_connection({}, "OURS") is None
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    environment = {"OURS": str(theirs.detach()), "OTHER": "1"}
    with ours:
        connection = adopt_connection(environment, "OURS")
        assert connection is not None
        with connection:
            assert environment == {"OTHER": "1"}
            assert not connection.get_inheritable()
    for wrong in ("x", "987654"):
        with pytest.raises(UsageError, match="OURS: is set by `exporter run`"):
            adopt_connection({"OURS": wrong}, "OURS")
