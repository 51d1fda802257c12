"""What the superuser makes at a destination belongs to the owner of the destination."""

import os
from pathlib import Path

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.errors import DestinationError, StoreError
from exporter.sandbox import Row, make_conversations
from exporter.store import owner
from exporter.store.disk import make_directories, open_private, reporting
from exporter.store.owner import check_heirs, heirs_of
from tests.end_to_end.conftest import NOBODY, Command, Serving, unprivileged

START = parse_timestamp("2026-01-10")
#: Whoever runs the tests, except the superuser, can only give files to itself.
HEIR, GROUP = (NOBODY, 54_321) if os.getuid() == 0 else (os.getuid(), os.getgid())


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(60, START, START + DAY, seed=6)


@pytest.fixture
def of_another(tmp_path: Path) -> Path:
    """Returns a directory that belongs to another user than the superuser."""
    root = tmp_path / "calls"
    root.mkdir(mode=0o700)
    os.chown(root, HEIR, GROUP)
    return root


def test_only_the_superuser_gives_away_what_it_makes(of_another: Path) -> None:
    found = of_another.stat()
    assert heirs_of(found, 0) == (HEIR, GROUP)
    assert heirs_of(found, HEIR) is None
    assert heirs_of(found, 12_345) is None
    assert heirs_of(Path("/").stat(), 0) is None


def test_what_the_owner_of_the_directory_has_put_there_is_not_given_away(
    of_another: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda what, *_, **__: given.append(what))
    monkeypatch.setattr(owner, "heirs_of", lambda *_: (12_345, 12_345))
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").touch()
    (of_another / "link").symlink_to(tmp_path / "secret" / "file")
    (of_another / "directory").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "secret" / "file", of_another / "second-name")
    for name in ("link", "second-name"):
        os.close(open_private(of_another / name, os.O_RDWR | os.O_CREAT))
    make_directories(of_another / "directory", set())
    assert given == []
    os.close(open_private(of_another / "own", os.O_RDWR | os.O_CREAT))
    make_directories(of_another / "made", set())
    assert len(given) == 2


@pytest.mark.parametrize("mode", [(), ("--file-mode", "group")])
@pytest.mark.parametrize("table_format", [None, "delta", "iceberg"])
def test_everything_belongs_to_the_owner_of_the_destination(
    mode: tuple[str, ...],
    table_format: str | None,
    rows: list[Row],
    serving: Serving,
    command: Command,
    of_another: Path,
) -> None:
    format_ = () if table_format is None else ("--table-format", table_format)
    tables = ("--tables", "conversations,turns", *format_)
    first = command("export", of_another, "--until", "2026-01-10T12:00:00Z", *tables, *mode, server=serving(rows))
    assert first.status == 0, first
    assert command("sync", of_another, server=serving(rows)).status == 0
    assert command("compact", of_another).status == 0
    for path in [of_another, *of_another.rglob("*")]:
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (HEIR, GROUP), path


def test_a_destination_where_nothing_can_be_given_away_is_refused_before_anything_is_written(
    rows: list[Row], serving: Serving, command: Command, of_another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", refuse)
    server = serving(rows)
    done = command("export", of_another, server=server)
    assert (done.status, len(server.requests), list(of_another.iterdir())) == (2, 0, [])
    assert f"{of_another}: its owner is " in done.err
    with pytest.raises(DestinationError, match="cannot give files here"):
        check_heirs(of_another)


def test_a_denial_names_the_directory_at_fault_and_its_owner(tmp_path: Path) -> None:
    day, file = tmp_path / "day", tmp_path / "day" / "part.parquet"
    day.mkdir()
    day.chmod(0o500)
    if os.getuid() == 0:
        os.chown(day, NOBODY - 1, NOBODY - 1)
        day.chmod(0o755)
        # The processes of a test run have a directory more.
        above = [directory.name.startswith("pytest-of-") for directory in tmp_path.parents]
        for directory in (tmp_path, *tmp_path.parents[: above.index(True) + 1 if any(above) else 2]):
            directory.chmod(0o755)
    with unprivileged(), pytest.raises(StoreError) as raised, reporting(file):
        file.touch()
    said = str(raised.value)
    if os.getuid() == 0:
        assert f"{file}: permission denied: the owner of {day} is user 65533, and this is nobody. Run as" in said
    else:
        assert f"{file}: permission denied: the mode of {day} is 500. Run chmod u+rwx on it" in said
