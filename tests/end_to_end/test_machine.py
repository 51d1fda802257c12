"""Tests that on an unusual machine, each command works, or says what to change."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.parts.ids import Hashes
from exporter.sandbox import Row, make_conversations
from exporter.store.local import scratch
from tests.end_to_end.conftest import Command, Serving, unprivileged
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.end_to_end.records import records
from tests.toolkit.every_command import WORD_OF_A_DEFECT, commands_at, every_command, refusing, run_each
from tests.toolkit.programs import find_program
from tests.toolkit.sizes import size_of, some_of

START = parse_timestamp("2026-01-10")
#: A user who has no processes of other tests.
SOMEBODY = 54_321
#: Large libraries, which commands load.
LIBRARIES = (
    "exporter.cli, exporter.jobs.export, exporter.jobs.audit, exporter.sandbox, pyarrow.dataset, pyarrow.parquet"
)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(30, START, START + DAY, seed=7, transcripts=False)


@pytest.fixture
def exported(rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> Path:
    """Makes a finished export."""
    assert command("sync", tmp_path / "kept", server=serving(rows)).status == 0
    return tmp_path / "kept"


@pytest.fixture
def no_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise FileNotFoundError("No usable temporary directory found in ['/tmp', '/var/tmp', '/usr/tmp', '/']")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", fail)


@pytest.fixture
def of_somebody() -> Iterator[Path]:
    """Makes a directory of a user who has no name, and no processes except those of these tests."""
    directory = Path(tempfile.mkdtemp())
    if os.getuid() == 0:
        os.chown(directory, SOMEBODY, SOMEBODY)
    yield directory
    shutil.rmtree(directory)


class TestTemporaryFiles:
    def test_every_command_works_without_a_directory_for_them(
        self, no_temporary_directory: None, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server, root = serving(rows), tmp_path / "out"
        for arguments in commands_at(root, tmp_path / "demo"):
            done = command(*arguments, server=server)
            assert done.status == 0, (arguments, done.err)
        ExportDirectory(root).check(records(rows))
        assert command("audit", root, server=server).status == 0
        assert list((root / "_exporter/scratch").iterdir()) == []
        assert command("sync", root, server=server).status == 0
        assert not (root / "_exporter/scratch").exists()

    def test_what_a_killed_audit_has_left_below_the_export_is_swept(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server, root = serving(rows), tmp_path / "out"
        assert command("sync", root, server=server).status == 0
        left = root / "_exporter/scratch"
        left.mkdir()
        code = (
            "import os, signal, sys, pathlib; from exporter.store.local import scratch\n"
            "with scratch.private_place(pathlib.Path(sys.argv[1])) as place:\n"
            "    (place / 'list').touch(); os.kill(os.getpid(), signal.SIGKILL)"
        )
        subprocess.run([sys.executable, "-c", code, str(left)], check=False)
        assert len(list(left.iterdir())) == 1
        assert command("sync", root, server=server).status == 0
        assert not left.exists()

    def test_an_object_store_says_what_to_set(
        self, no_temporary_directory: None, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        done = command("status", "s3://bucket/calls")
        assert done.status == 2
        assert "no directory for temporary files" in done.err
        assert "Set TMPDIR" in done.err

    def test_many_ids_are_compared_below_the_export(self, no_temporary_directory: None, tmp_path: Path) -> None:
        (tmp_path / "_exporter").mkdir()
        with Hashes(3, tmp_path) as hashes:
            for start in (0, 3, 5):
                hashes.add(array("q", range(start, start + 3)))
            assert hashes.repeated(10) == {5}

    def test_an_export_that_cannot_be_written_to_says_what_to_set(
        self, no_temporary_directory: None, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server, root = serving(rows), tmp_path / "out"
        assert command("sync", root, server=server).status == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scratch, "SCRATCH", "nothing/here")
            done = command("audit", root, server=server)
        assert (done.status, "Set TMPDIR" in done.err) == (2, True), done.err


class TestAFinishedExport:
    """Tests that a command that reads an export works, and that one that would change it says why it does not."""

    #: The commands that only read, since the export finds nothing to do.
    READING = ("export", "status", "verify", "accept", "schema", "sandbox")

    @pytest.mark.parametrize("has_temporary", some_of([True, False], False))
    def test_on_a_machine_that_is_read_only(
        self, has_temporary: bool, exported: Path, rows: list[Row], serving: Serving, tmp_path: Path
    ) -> None:
        (temporary := tmp_path / "temporary").mkdir()
        spoil = refusing(errno.EROFS, Path("/"), *[temporary] * has_temporary)
        before = snapshot(exported)
        ended = run_each(
            every_command(exported, tmp_path / "demo"),
            serving(rows).url,
            tmp_path,
            spoil=spoil,
            environment={"TMPDIR": str(temporary)},
        )
        assert WORD_OF_A_DEFECT not in ended.err
        assert {ended.statuses[name] for name in self.READING} == {0}, ended
        assert ended.statuses["audit"] == (0 if has_temporary else 2), ended
        assert ("Set TMPDIR" in ended.err) == (not has_temporary)
        assert "the file system is read-only. Choose another destination" in ended.err
        changing = ended.statuses.keys() - {*self.READING, "audit"}
        assert {ended.statuses[name] for name in changing} <= {1, 2}, ended
        assert snapshot(exported) == before

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            pytest.param(errno.ENOSPC, "no inodes: it holds too many files. Delete some", id="inodes"),
            pytest.param(
                errno.EDQUOT, "the disk quota is used up. Free some space", id="quota", marks=pytest.mark.thorough
            ),
        ],
    )
    def test_on_a_disk_that_takes_no_more_files(
        self, number: int, words: str, exported: Path, rows: list[Row], serving: Serving, tmp_path: Path
    ) -> None:
        spoil = refusing(number, tmp_path, only_new=True) + (
            "fields = list(os.statvfs('/'))\n"
            "fields[5:8] = (1000, 0, 0)\n"  # f_files, f_ffree, f_favail
            "os.statvfs = lambda _: os.statvfs_result((*fields, 0))\n"
        )
        # Reading comes first, because a sync that fails has begun to change the export.
        commands = sorted(every_command(exported, tmp_path / "demo"), key=lambda one: one[0] not in self.READING)
        ended = run_each(commands, serving(rows).url, tmp_path, spoil=spoil)
        assert WORD_OF_A_DEFECT not in ended.err
        assert {ended.statuses[name] for name in (*self.READING, "audit")} == {0}, ended
        assert {ended.statuses[name] for name in ("sync", "reread", "demo")} <= {1, 2}, ended
        assert words in ended.err
        again = run_each([["sync", str(exported)], ["verify", str(exported)]], serving(rows).url, tmp_path)
        assert set(again.statuses.values()) == {0}, again


#: Names that something may unquote, split or take for a pattern.
ODD = ["100%", "a%20b", "x#y", "q?z", "p+q", "it's", 'a "b"', "ü–ñ", "[a]{b}*", "back\\slash", "nl\nx"]


class TestNames:
    # One path with all of them shows that something is wrong; which of them it is, each alone shows.
    @pytest.mark.parametrize("name", ["/".join(ODD), *ODD[: size_of(0, len(ODD))]])
    def test_odd_ones_hold_an_export(
        self, name: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server, root = serving(rows), tmp_path / name
        for arguments in commands_at(root, tmp_path / "demo"):
            done = command(*arguments, server=server)
            assert done.status == 0, (arguments, done.err)
        ExportDirectory(root).check(records(rows))

    @pytest.mark.parametrize("kind", ["delta", "iceberg"])
    @pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "nl\nx"])
    def test_those_that_readers_of_a_table_misunderstand_are_refused_before_anything_is_read(
        self, name: str, kind: str, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server = serving(rows)
        done = command("export", tmp_path / name, "--table-format", kind, server=server)
        assert done.status == 2, done.err
        assert "readers of the format misunderstand" in done.err
        assert list(tmp_path.iterdir()) == []
        assert server.requests == []

    def test_one_that_is_no_text(self, rows: list[Row], serving: Serving, tmp_path: Path) -> None:
        server, root = serving(rows), tmp_path / os.fsdecode(b"caf\xe9")
        ended = run_each(every_command(root, tmp_path / os.fsdecode(b"d\xe9mo")), server.url, tmp_path)
        assert WORD_OF_A_DEFECT not in ended.err
        assert set(ended.statuses.values()) == {0}, ended


class TestLimits:
    @pytest.mark.parametrize("threads", some_of([1, 5], 1))
    def test_too_few_threads(self, threads: int, rows: list[Row], serving: Serving, of_somebody: Path) -> None:
        server, root = serving(rows), of_somebody / "out"
        commands = [
            *every_command(root, of_somebody / "demo"),
            ["export", str(of_somebody / "delta"), "--table-format", "delta"],
        ]
        ended = run_each(commands, server.url, of_somebody, prefix=as_somebody(threads))
        assert set(ended.statuses.values()) <= {0, 1, 2, 3}, ended
        assert ended.statuses["export"] == 1
        assert "ulimit -u" in ended.err
        assert WORD_OF_A_DEFECT not in ended.err
        assert "interrupted" not in ended.err

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(
                "import exporter.cli; taken = 0; left = 340 << 20", id="to-load-libraries", marks=pytest.mark.thorough
            ),
            # The system first refuses the stack of a thread.
            pytest.param(
                f"import {LIBRARIES}; pyarrow.array([1]).cast('int32')\n"
                "taken = int(open('/proc/self/statm').read().split()[0]) * os.sysconf('SC_PAGESIZE'); left = 20 << 20",
                id="to-work",
            ),
        ],
    )
    def test_too_little_memory(
        self, spoil: str, exported: Path, rows: list[Row], serving: Serving, tmp_path: Path
    ) -> None:
        spoil += "\nimport resource; resource.setrlimit(resource.RLIMIT_AS, (taken + left,) * 2)"
        commands = every_command(exported, tmp_path / "demo")
        # Each runs apart: the memory that one leaves is too little for the test's own part in the next.
        ended = run_each(commands, serving(rows).url, tmp_path, spoil=spoil, apart=True)
        statuses = set(ended.statuses.values())
        # A run that could not write its commit has taken `_SUCCESS` away before, and nothing else.
        if ended.statuses["verify"] == 6 and '"problems": [{"file": "_SUCCESS", "what": "success", ' in ended.out:
            assert ended.out.count('"what": ') == ended.out.count('"what": "success"'), ended
            statuses.remove(6)
        assert statuses <= {0, 1, 2, 3}, ended
        assert 1 in statuses
        assert "Raise" in ended.err
        assert WORD_OF_A_DEFECT not in ended.err
        assert "Traceback" not in ended.err

    @pytest.mark.parametrize("files", some_of([8, 12], 8))
    def test_too_few_open_files(self, files: int, rows: list[Row], serving: Serving, tmp_path: Path) -> None:
        server = serving(rows)
        commands = every_command(tmp_path / "out", tmp_path / "demo")
        if files == 12:
            # The server of a demo, which has too few as well then, waits for a second whenever it cannot accept.
            commands = [one for one in commands if one[0] != "demo"]
        ended = run_each(commands, server.url, tmp_path, preexec=limiting(NOFILE=files))
        assert {ended.statuses.get(name, 1) for name in ("export", "sync", "demo")} <= {0, 1, 2}, ended
        assert WORD_OF_A_DEFECT not in ended.err
        assert "ANYREACH_BASE_URL" not in ended.err

    @pytest.mark.parametrize("files", some_of([6, 7], 6))
    def test_too_few_open_files_are_no_damage(
        self, files: int, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server, root = serving(rows), tmp_path / "out"
        assert command("export", root, server=server).status == 0
        commands = [["verify", str(root), "--json"], ["demo", str(tmp_path / "demo"), "--rows", "40"]]
        ended = run_each(commands, server.url, tmp_path, preexec=limiting(NOFILE=files))
        assert ended.statuses["verify"] in (0, 1), ended
        assert ended.statuses["demo"] == 1, ended
        assert WORD_OF_A_DEFECT not in ended.err
        assert "ulimit -n" in ended.err

    def test_a_working_directory_that_is_gone(self, rows: list[Row], serving: Serving, tmp_path: Path) -> None:
        server = serving(rows)
        gone = str(tmp_path / "gone")
        spoil = f"os.mkdir({gone!r}); os.chdir({gone!r}); os.rmdir({gone!r})"
        ended = run_each(every_command(tmp_path / "out", tmp_path / "demo"), server.url, tmp_path, spoil=spoil)
        assert set(ended.statuses.values()) == {0}, ended
        relative = run_each(every_command(Path("out"), Path("demo")), server.url, tmp_path, spoil=spoil)
        assert WORD_OF_A_DEFECT not in relative.err
        assert relative.statuses["export"] == 2

    def test_an_environment_of_nothing(self, rows: list[Row], serving: Serving, of_somebody: Path) -> None:
        server = serving(rows)
        odd = {"TZ": "No/Where", "LC_ALL": "C", "TERM": "", "COLUMNS": "x"}
        spoil = "os.environ.pop('HOME', None); os.environ.pop('LANG', None)"
        commands = [
            *every_command(of_somebody / "out", of_somebody / "demo"),
            ["export", str(of_somebody / "ice"), "--table-format", "iceberg"],
        ]
        ended = run_each(commands, server.url, of_somebody, spoil=spoil, environment=odd, prefix=as_somebody(None))
        assert set(ended.statuses.values()) == {0}, ended


def as_somebody(threads: int | None) -> list[str]:
    """Returns the command that starts a process of a user without a name, who may start this many threads."""
    install = "apt-get install util-linux"
    limit = [] if threads is None else [find_program("prlimit", install), f"--nproc={threads}"]
    if os.getuid() != 0:
        return limit
    # Root could start any number of threads; of its rights, only that to read everywhere is kept.
    kept = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override"]
    return [find_program("setpriv", install), f"--reuid={SOMEBODY}", "--clear-groups", *kept, *limit]


def limiting(**limits: int) -> Callable[[], None]:
    def limit() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    return limit


@pytest.mark.parametrize("mode", [0o000, 0o200])
def test_a_part_that_may_not_be_read_is_said_to_be_that(
    mode: int, rows: list[Row], serving: Serving, command: Command, of_somebody: Path
) -> None:
    server, root = serving(rows), of_somebody
    assert command("sync", root / "out", server=server).status == 0
    part = next((root / "out").rglob("*.parquet"))
    part.chmod(mode)
    if os.getuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65_534, 65_534)
    with unprivileged():
        done = command("verify", root / "out")
        part.chmod(0o600)
    assert f"permission denied: its mode is {mode:03o}. Run chmod 600 on it" in done.out
    assert done.status == 1


def test_a_broken_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('libarrow.so: cannot open shared object', name='pyarrow')")
    ended = run_each(
        [["verify", str(tmp_path / "out")]],
        "http://127.0.0.1:9",
        tmp_path,
        spoil=f"sys.path.insert(0, {str(tmp_path)!r})",
    )
    assert ended.statuses == {"verify": 1}
    assert "exporter: pyarrow: cannot be loaded: libarrow.so" in ended.err
