"""Each bad command line is refused in one line of our words: what is wrong, where, and what to do.

`bad_inputs.txt` is the table: a command line after `$ exporter `, and then what stderr says.
"""

import json
import shlex
from pathlib import Path

import pytest

from exporter.cli import main
from tests.toolkit.dated import undated

_LINES = (Path(__file__).parent / "bad_inputs.txt").read_text(encoding="utf-8").splitlines()
BAD_INPUTS = [(line.removeprefix("$ exporter "), said) for line, said in zip(_LINES[::2], _LINES[1::2], strict=True)]
#: Words of the libraries that read a command line.
_FOREIGN = ("Value error", "Input should be", "Invalid", "Expected `", "Usage:", "Error:", "Try '", "not a valid")


@pytest.mark.parametrize(("line", "said"), BAD_INPUTS, ids=[line for line, _ in BAD_INPUTS])
def test_a_bad_command_line_is_refused_in_one_line(
    line: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYREACH_TOKEN", "ak_a-secret-of-the-tests")
    monkeypatch.delenv("ANYREACH_BASE_URL", raising=False)
    Path("tok").touch()
    assert main(shlex.split(line)) == 2
    shown = capsys.readouterr()
    assert undated(shown.err) == f"{said}\n"
    reason = said.removeprefix("exporter: ")
    failed = json.dumps({"event": "failed", "reason": reason, "exit_status": 2})
    assert shown.out == (f"{failed}\n" if {"--json", "--json-lines"} & {*shlex.split(line)} else "")
    assert said.startswith("exporter: ")
    assert not [words for words in _FOREIGN if words in shown.err]
    assert [each.name for each in tmp_path.iterdir()] == ["tok"]
