"""Runs the command line behind a fence, as a program: `python fence.py RECORD ARGUMENT …`.

Nothing beyond loopback can be connected to, sent to, or looked up by name. Each attempt, allowed or not, is a line of
the file RECORD. Only what Python itself opens passes the fence; the libraries of object stores do not.
"""

import ipaddress
import os
import runpy
import sys
from pathlib import Path
from typing import NoReturn

_WATCHED = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")


def is_near(host: str) -> bool:
    """Returns whether this is an address of this machine, or the name that every machine has for it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fence(record: int) -> None:
    """Refuses, from now on and for as long as the process lives, what would leave the machine."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _WATCHED:
            return
        place = arguments[0] if event.startswith("socket.get") else arguments[1]
        host = str(place[0]) if isinstance(place, tuple) else os.fsdecode(place) if isinstance(place, bytes) else place
        is_local = isinstance(place, str) and place.startswith("/")  # a socket of this machine's own
        os.write(record, f"{event} {host}\n".encode())
        if not (is_local or is_near(str(host))):
            raise PermissionError(f"{event} {host}: beyond the fence")

    sys.addaudithook(watch)


def attempts(record: Path) -> set[str]:
    """Returns the hosts that were connected to, or looked up, or would have been."""
    return {line.split(" ", 1)[1] for line in record.read_text().splitlines()}


def _main() -> NoReturn:
    record, *arguments = sys.argv[1:]
    # Modules beside this one must not hide others.
    del sys.path[0]
    fence(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    sys.argv = ["exporter", *arguments]
    runpy.run_module("exporter", run_name="__main__", alter_sys=True)
    raise SystemExit


if __name__ == "__main__":
    _main()
