"""With `--file-mode group`, another user of the group reads an export by each of its formats, and others read nothing.

Only root can be another user.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import make_conversations
from tests.end_to_end.conftest import Command, Serving

START = parse_timestamp("2026-01-10")
ANALYSTS, STRANGERS, READER = 54_321, 54_322, 54_323
#: By format, what reads all conversations, and counts them.
READS = {
    "": (
        "import pyarrow.dataset as ds\n"
        "found = ds.dataset('calls/conversations', partitioning='hive').to_table().num_rows"
    ),
    "delta": (
        "from deltalake import DeltaTable, QueryBuilder\n"
        "table = DeltaTable('calls/conversations')\n"
        "found = QueryBuilder().register('calls', table).execute('SELECT * FROM calls').read_all().num_rows"
    ),
    "iceberg": (
        "from pathlib import Path\n"
        "from pyiceberg.catalog.sql import SqlCatalog\n"
        "catalog = SqlCatalog('exporter', uri=f'sqlite:///{Path.cwd()}/calls/_iceberg/catalog.db')\n"
        "found = catalog.load_table('exporter.conversations').scan().to_arrow().num_rows\n"
        "catalog.close()"
    ),
}
#: Reads once as root, because another user may not be able to load what is imported, and then as that user.
_PROGRAM = """
import os, sys
exec(sys.argv[1])
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[3]))
exec(sys.argv[1])
print(found)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Returns a directory that every user may pass, unlike those of the tests."""
    with tempfile.TemporaryDirectory(prefix="exporter-group-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("table_format", READS)
def test_a_group_reads_and_others_do_not(table_format: str, place: Path, serving: Serving, command: Command) -> None:
    server, calls = serving(make_conversations(30, START, START + DAY, seed=6)), place / "calls"
    calls.mkdir()
    os.chown(calls, -1, ANALYSTS)
    calls.chmod(0o2750)
    asked = ["--file-mode", "group", *(["--table-format", table_format] if table_format else [])]
    since, until = "2026-01-10", "2026-01-10T12:00"
    assert command("export", str(calls), "--since", since, "--until", until, *asked, server=server).status == 0
    assert command("sync", str(calls), server=server).status == 0
    done = _as(place, ANALYSTS, READS[table_format])
    assert (done.stdout.strip(), done.returncode) == ("30", 0), done.stderr
    refused = _as(place, STRANGERS, READS[table_format])
    assert refused.returncode != 0
    assert any(words in refused.stderr for words in ("ermission denied", "unable to open", "FileNotFound")), refused
    writing = _as(place, ANALYSTS, "import os\nfound = os.open('calls/conversations', os.O_TMPFILE | os.O_WRONLY)")
    assert writing.returncode != 0
    assert "Permission denied" in writing.stderr


def _as(place: Path, group: int, program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM, program, str(group), str(READER)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)
