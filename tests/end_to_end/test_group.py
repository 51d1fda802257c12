"""With `--file-mode group`, another user of the group reads an export by each of its formats, and others read nothing.

Only root can be another user.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import TOKEN, make_conversations
from tests.end_to_end.conftest import Command, Serving
from tests.toolkit.manual import PAGES
from tests.toolkit.sizes import some_of

START = parse_timestamp("2026-01-10")
ANALYSTS, STRANGERS, READER, OWNER = 54_321, 54_322, 54_323, 54_324
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
from tests.toolkit.sizes import some_of
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
@pytest.mark.parametrize("table_format", some_of(READS, "", "delta"))
def test_a_group_reads_and_others_do_not(table_format: str, place: Path, serving: Serving, command: Command) -> None:
    server, calls = serving(make_conversations(30, START, START + DAY, seed=6)), place / "calls"
    members, prepared, first = _recipe(place)
    assert members == {"exporter", "dbt"}
    (place / "token").write_text(TOKEN)
    (place / "token").chmod(0o600)
    os.chown(place / "token", OWNER, OWNER)
    subprocess.run(["sh", "-e", "-c", prepared], check=True)
    asked = [*first, "--since", "2026-01-10", *(["--table-format", table_format] if table_format else [])]
    # Another user may not be able to load what is imported.
    for _ in range(2):
        assert command(*(word.replace("/calls", "/of-root") for word in asked), server=server, token=None).status == 0
    with _as_owner():
        refused = command(*asked, server=server, token=None)
    # An owner who is no member could not keep the group.
    assert (refused.status, "be a member" in refused.err, list(calls.iterdir())) == (2, True, []), refused
    with _as_owner(ANALYSTS):
        assert command(*asked, server=server, token=None).status == 0
        assert command("sync", str(calls), server=server).status == 0
    done = _as(place, ANALYSTS, READS[table_format])
    assert (done.stdout.strip(), done.returncode) == ("30", 0), done.stderr
    stranger = _as(place, STRANGERS, READS[table_format])
    assert stranger.returncode != 0
    assert any(words in stranger.stderr for words in ("ermission denied", "unable to open", "FileNotFound")), stranger
    writing = _as(place, ANALYSTS, "import os\nfound = os.open('calls/conversations', os.O_TMPFILE | os.O_WRONLY)")
    assert writing.returncode != 0
    assert "Permission denied" in writing.stderr


def _recipe(place: Path) -> tuple[set[str], str, list[str]]:
    """Returns what the manual says, in `place` in place of the system: who are members of the group, the commands that
    prepare the directory, and the arguments of the first run."""
    lines = PAGES["schedule"].command_holding("usermod").strip().splitlines()
    group, *setup = [line for line in lines if not line.startswith(("usermod", "su "))]
    assert group == "groupadd -f analysts"
    members = {line.split()[-1] for line in lines if line.startswith("usermod -aG analysts ")}
    prepared = "\n".join(setup).replace("exporter:analysts", f"{OWNER}:{ANALYSTS}").replace("/srv", str(place))
    *_, user, _, run = shlex.split(lines[-1])
    assert user == "exporter"
    return members, prepared, run.replace("/srv", str(place)).replace("/etc/exporter", str(place)).split()[1:]


@contextmanager
def _as_owner(*groups: int) -> Iterator[None]:
    """Runs the block as the user who writes the export, who is also a member of `groups`."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setresgid(OWNER, OWNER, 0)
    os.setresuid(OWNER, OWNER, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(before)


def _as(place: Path, group: int, program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM, program, str(group), str(READER)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)
