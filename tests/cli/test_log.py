"""A log has one dated line for each event, whatever its values hold, and its file is private, rotated or reopened."""

import json
import os
import resource
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.cli.log import LogFile, dated, key_values, open_log
from exporter.errors import UsageError
from tests.toolkit.dated import are_dated, undated


def test_lines_are_dated_in_utc() -> None:
    assert are_dated(dated("one\ntwo"))
    assert undated(dated("one\ntwo")) == "one\ntwo"


def test_a_line_of_text_and_an_object_say_the_same() -> None:
    lines: list[str] = []
    open_log(lines.append, "text")("warning", "throttled", {"wait_seconds": 1.5, "answer": "line\nbreak ü"})
    open_log(lines.append, "json")("warning", "throttled", {"wait_seconds": 1.5, "answer": "line\nbreak ü"})
    assert are_dated(lines[0])
    assert undated(lines[0]) == 'warning: throttled wait_seconds=1.5 answer="line\\nbreak \\u00fc"\n'
    fields = json.loads(lines[1])
    assert are_dated(fields.pop("timestamp") + " ")
    assert fields == {"level": "warning", "event": "throttled", "wait_seconds": 1.5, "answer": "line\nbreak ü"}
    assert lines[1].count("\n") == 1


def test_a_place_that_breaks_does_not_stop_the_export() -> None:
    def broken(text: str) -> None:
        raise OSError("gone")

    open_log(broken, "text")("info", "event", {})


def test_a_value_cannot_break_its_line_or_the_terminal() -> None:
    text = key_values("retry", {"n": 1, "wait": 0.12345, "why": "a b", "raw": "\x1b[2J\n", "none": "", "q": 'x"y'})
    assert text == r'retry n=1 wait=0.123 why="a b" raw="\u001b[2J\n" none="" q="x\"y"'


@given(st.text())
@example("\x7f")
@example("\x9b2J")
def test_any_value_stays_on_its_line(value: str) -> None:
    assert key_values("event", {"value": value}).isprintable()


def test_a_log_file_is_private_and_continued(tmp_path: Path) -> None:
    for line in ("one\n", "two\n"):
        LogFile(tmp_path / "log").write(line)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("deleted", [False, True])
def test_a_log_file_that_was_moved_away_is_opened_again(deleted: bool, tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.write("one\n")
    if deleted:
        (tmp_path / "log").unlink()
    else:
        (tmp_path / "log").rename(tmp_path / "log.old")
        (tmp_path / "log").write_text("by logrotate\n")
    log.write("two\n")
    assert (tmp_path / "log").read_text() == ("two\n" if deleted else "by logrotate\ntwo\n")
    log.close()


def test_a_log_file_never_exceeds_its_size_and_five_older_ones_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", 10)
    for number in range(30):
        log.write(f"{number:03}\n")
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log", "log.1", "log.2", "log.3", "log.4", "log.5"]
    assert all(file.stat().st_size <= 10 for file in files)
    assert "".join(file.read_text() for file in reversed(files)) == "".join(f"{one:03}\n" for one in range(18, 30))


def test_a_line_longer_than_the_size_is_kept_whole(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", 3)
    log.write("a long line\n")
    log.write("b\n")
    assert (tmp_path / "log.1").read_text() == "a long line\n"
    assert (tmp_path / "log").read_text() == "b\n"


def test_a_log_file_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    (tmp_path / "log").chmod(0o644)
    LogFile(tmp_path / "log").write("one\n")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("is_read", [False, True])
def test_a_pipe_is_refused_at_once_and_what_was_opened_outlives_one(is_read: bool, tmp_path: Path) -> None:
    warnings: list[str] = []
    log = LogFile(tmp_path / "log", warn=warnings.append)
    log.write("one\n")
    (tmp_path / "log").rename(tmp_path / "log.old")
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK) if is_read else None
    for line in ("two\n", "three\n"):
        log.write(line)
    with pytest.raises(UsageError, match=r"^--log-file .*/log: not a regular file\. Name a file"):
        LogFile(tmp_path / "log")
    if reader is not None:
        assert os.read(reader, 99) == b""
        os.close(reader)
    log.close()
    assert (tmp_path / "log.old").read_text() == "one\ntwo\nthree\n"
    (warning,) = warnings
    assert warning.startswith(f"--log-file {tmp_path / 'log'}: cannot be rotated or opened again: not a regular file; ")


def test_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--log-file /dev/null: not a regular file\. Name a file"):
        LogFile(Path("/dev/null"))


def test_a_file_that_cannot_be_rotated_goes_on_and_that_is_said_once(tmp_path: Path) -> None:
    for number in range(1, 6):
        (tmp_path / f"log.{number}/other").mkdir(parents=True)
    warnings: list[str] = []
    log = LogFile(tmp_path / "log", 10, warnings.append)
    lines = [f"{number:03}\n" for number in range(40)]
    for line in lines:
        log.write(line)
    log.close()
    assert (tmp_path / "log").read_text() == "".join(lines)
    assert warnings == [
        f"--log-file {tmp_path / 'log'}: cannot be rotated or opened again: Directory not empty; "
        "the file that was opened goes on"
    ]


def test_a_file_whose_directory_is_a_file_by_now_goes_on(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    warnings: list[str] = []
    log = LogFile(tmp_path / "logs/log", warn=warnings.append)
    log.write("one\n")
    (tmp_path / "logs").rename(tmp_path / "old")
    (tmp_path / "logs").touch()
    log.write("two\n")
    log.close()
    assert (tmp_path / "old/log").read_text() == "one\ntwo\n"
    assert len(warnings) == 1


def test_lines_that_cannot_be_written_are_said_to_be_missing(tmp_path: Path) -> None:
    warnings: list[str] = []
    log = LogFile(tmp_path / "log", warn=warnings.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, hard))
    try:
        for line in ("one\n", "two\n", "three\n"):
            log.write(line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    assert warnings == [f"--log-file {tmp_path / 'log'}: File too large; lines are missing there"]


@pytest.mark.parametrize("path", ["no/such", "", ".", "nul\0"])
def test_a_log_file_that_cannot_be_is_named(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^--log-file "):
        LogFile(Path(path))


def test_a_file_that_cannot_be_opened_again_goes_on_and_no_other_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    log = LogFile(directory / "log")
    log.write("one\n")
    directory.rename(tmp_path / "old")
    other = (tmp_path / "part").open("wb")
    for line in ("two\n", "three\n"):
        log.write(line)
        other.write(b"rows")
        other.flush()
    other.close()
    log.close()
    assert (tmp_path / "old/log").read_text(encoding="utf-8") == "one\ntwo\nthree\n"
    assert (tmp_path / "part").read_bytes() == b"rowsrows"
