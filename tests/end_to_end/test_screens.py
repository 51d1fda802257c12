"""What a person sees on a terminal while a command runs, and what is left there."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import TOKEN, Behaviour, Sandbox, make_conversations
from tests.end_to_end.conftest import Serving, when_asked
from tests.toolkit.sizes import some_of
from tests.toolkit.terminal import terminal

UNTIL = parse_timestamp("2026-02-01")
PLAIN = re.compile(r"^\S+  \d+% · [\d,]+ rows · [\d,]+ rows/s · \d+:\d\d")
BAR = re.compile(r"^\S*calls  \d+% ━*─*  [\d,]+")


@pytest.fixture
def slow(serving: Serving) -> Iterator[Sandbox]:
    yield serving(make_conversations(3000, UNTIL - 20 * DAY, UNTIL, transcripts=False), Behaviour(latency=0.3))


def variables(server: Sandbox, **others: str) -> dict[str, str]:
    return {"ANYREACH_BASE_URL": server.url, "ANYREACH_TOKEN": TOKEN, **others}


def export_to(directory: Path) -> list[str]:
    return ["export", str(directory / "calls"), "--until", "2026-02-01", "--page-size", "100"]


def hurry(server: Sandbox) -> None:
    """Makes the server answer at once, when what only a slow one shows has been seen."""
    server.behaviour = Behaviour()


def has_bar(lines: list[str]) -> bool:
    return any("━" in line for line in lines)


def has_ended(start: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(line.startswith(start) for line in lines)


@pytest.mark.parametrize(("columns", "rows"), some_of([(80, 24), (200, 50), (40, 20)], (40, 20)))
def test_a_picture_fits_its_terminal_and_leaves_the_summary_alone(
    columns: int, rows: int, slow: Sandbox, tmp_path: Path
) -> None:
    with terminal(*export_to(tmp_path), columns=columns, rows=rows, variables=variables(slow)) as screen:
        seen = screen.wait_for(has_bar)
        hurry(slow)
        # No line wraps: there is the bar, the line below it, and perhaps one for trouble.
        assert BAR.match(seen[0]), seen
        assert seen[1].endswith("requests/s") or "requests/s ·" in seen[1]
        assert all(line.startswith("! ") for line in seen[2:])
        assert len(seen) <= 3
        assert columns - 2 <= len(seen[0]) < columns
        assert screen.cursor_column == 0
        assert screen.wait() == 0
        text = "\n".join(screen.lines)
        # On a small screen, the first lines of the report may have gone up.
        assert "✔ complete  3,000 conversations".encode() in screen.output
        assert "requests/s" not in text
        assert "exporter help read" in text
    assert b"\x1b[32m" in screen.output


def test_ctrl_c_says_what_is_kept_on_a_line_of_its_own(slow: Sandbox, tmp_path: Path) -> None:
    with terminal(*export_to(tmp_path), columns=200, variables=variables(slow)) as screen:
        screen.wait_for(has_bar)
        screen.press(b"\x03")
        assert screen.wait() == 130
        (line,) = screen.lines
    told = re.fullmatch(r"exporter: stopped: ([\d,]+) conversations \(\d+ %\) are kept in (\S+); (.*)", line)
    assert told is not None, line
    assert told[2] == str(tmp_path / "calls")
    assert told[3] == "run the same command to go on"


def test_a_killed_run_leaves_the_cursor_on_a_line_of_its_own(slow: Sandbox, tmp_path: Path) -> None:
    with terminal(*export_to(tmp_path), variables=variables(slow)) as screen:
        screen.wait_for(lambda lines: "connecting" in "".join(lines) or has_bar(lines))
        screen.process.send_signal(signal.SIGKILL)
        screen.wait()
        assert screen.cursor_column == 0


def test_a_picture_follows_the_size_of_its_terminal(slow: Sandbox, tmp_path: Path) -> None:
    with terminal(*export_to(tmp_path), variables=variables(slow)) as screen:
        screen.wait_for(has_bar)
        screen.resize(120, 24)
        (first, *_) = screen.wait_for(lambda lines: has_bar(lines) and len(lines[0]) > 100)
        assert BAR.match(first)
        hurry(slow)
        assert screen.wait() == 0
        assert screen.lines[0].startswith("✔ complete")


def test_a_terminal_without_a_cursor_gets_lines(slow: Sandbox, tmp_path: Path) -> None:
    # The first line comes after five seconds, in which a fast machine would be done.
    slow.behaviour = Behaviour(latency=1.0)
    with terminal(*export_to(tmp_path), columns=80, variables=variables(slow, TERM="dumb")) as screen:
        seen = screen.wait_for(lambda lines: any("rows/s" in line for line in lines))
        hurry(slow)
        assert PLAIN.match(seen[-1]), seen
        assert screen.wait() == 0
    assert b"\x1b" not in screen.output


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("PYTHONIOENCODING", "ascii")])
def test_colours_and_signs_are_left_out_where_they_are_not_wanted(
    name: str, value: str, slow: Sandbox, tmp_path: Path
) -> None:
    with terminal(*export_to(tmp_path), variables=variables(slow, **{name: value})) as screen:
        seen = screen.wait_for(lambda lines: any("requests/s" in line for line in lines))
        hurry(slow)
        assert screen.wait() == 0
        last = screen.lines[0]
    if name == "NO_COLOR":
        assert b"m" not in {sequence[-1:] for sequence in re.findall(rb"\x1b\[[0-9;]*[A-Za-z]", screen.output)}
        assert last.startswith("✔ complete  3,000")
    else:
        assert screen.output.isascii()
        assert "#" in seen[0] or "-" in seen[0]
        assert last.startswith("complete  3,000")


def test_a_quiet_command_shows_nothing_but_one_line(slow: Sandbox, tmp_path: Path) -> None:
    # It is slow at first: a run that ends at once would show no picture anyway.
    when_asked(slow, 12, lambda: hurry(slow))
    with terminal(*export_to(tmp_path), "-q", variables=variables(slow)) as screen:
        assert screen.wait() == 0
        assert screen.lines == ["✔ complete  3,000 conversations, up to 2026-02-01 UTC (not included)"]
    assert screen.output.count(os.linesep.encode()) == 1


def test_an_error_breaks_between_words_and_never_within_a_command(slow: Sandbox, tmp_path: Path) -> None:
    asked = ["export", str(tmp_path / "calls"), "--status", "completed;failed"]
    with terminal(*asked, columns=80, variables=variables(slow)) as screen:
        assert screen.wait() == 2
        assert screen.lines == [
            "exporter: --status 'completed;failed': known values are token_created,",
            "  triggered, ringing, in_progress, completed, failed, cancelled, transferred,",
            "  unanswered. Several take commas: A,B. To send a newer one unchecked, give",
            "  --filter 'status=completed;failed'",
        ]
