import subprocess
import sys
from pathlib import Path

from tests.toolkit import fence

_OPENED = "os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)"


def attempt(work: str, record: Path) -> str:
    """Returns what a program that does this behind the fence complains of."""
    program = f"import os, socket, sys; from tests.toolkit.fence import fence; fence({_OPENED}); {work}"
    done = subprocess.run(
        [sys.executable, "-c", program, record], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    return done.stderr.strip().rpartition("\n")[2]


def test_nothing_beyond_this_machine_is_reached_or_looked_up(tmp_path: Path) -> None:
    record = tmp_path / "record"
    for work, host in (
        ("socket.create_connection(('10.0.0.7', 9), 1)", "10.0.0.7"),
        ("socket.getaddrinfo('recordings.example.com', 443)", "recordings.example.com"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))", "192.0.2.1"),
    ):
        complaint = attempt(work, record)
        assert complaint.startswith("PermissionError")
        assert f" {host}: beyond the fence" in complaint
        assert host in fence.attempts(record)
        assert not fence.is_near(host)


def test_this_machine_is_reached(tmp_path: Path) -> None:
    record = tmp_path / "record"
    assert attempt("socket.getaddrinfo('localhost', 9)", record) == ""
    assert "ConnectionRefusedError" in attempt("socket.create_connection(('127.0.0.1', 9), 1)", record)
    assert fence.attempts(record) == {"localhost", "127.0.0.1"}
