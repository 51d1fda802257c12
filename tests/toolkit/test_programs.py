"""Tests that a test without its program is skipped and says what to install; where `CI` is true, it fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toolkit.programs import find_program

ROOT = Path(__file__).parents[2]
REASON = "no-such-program is not installed: apt-get install no-such-package"


def find_no_such_program() -> str:
    return find_program("no-such-program", "apt-get install no-such-package")


@pytest.mark.parametrize("value", [None, "", "false"])
def test_a_test_without_its_program_is_skipped(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", value)
    with pytest.raises(pytest.skip.Exception, match=REASON):
        find_no_such_program()


def test_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=REASON):
        find_no_such_program()


def test_a_program_is_found_in_the_path_and_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "no-such-program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program("no-such-program", "", str(tmp_path)) == str(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_no_such_program() == str(program)


#: A test of each program, and the command that installs it.
NEEDY = {
    "tests/end_to_end/test_gateway.py::TestAuthorities::test_a_private_one_can_be_named": "apt-get install nginx-light",
    "tests/end_to_end/test_machine.py::TestLimits::test_too_few_threads[1]": "apt-get install util-linux",
    "tests/store/test_conformance.py::test_publish_never_overwrites[azure]": "npm install --prefix .* azurite",
    "tests/store/test_location.py::test_a_shell_takes_a_destination_for_one_word_on_one_line": "apt-get install bash",
    "tests/manual/test_schedule.py::test_the_units": "apt-get install systemd",
    "tests/toolkit/test_browser.py::test_each_wrong_of_a_page_is_told": "apt-get install chromium",
}


def test_a_plain_run_prints_what_is_missing_on_a_bare_machine() -> None:
    code = "import pytest, shutil, sys; shutil.which = lambda *_, **__: None; sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "-n", "0", "-p", "no:cacheprovider", *NEEDY],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    printed = re.findall(r"^SKIPPED \[\d+\] \S+: \S+ is not installed: (.*)$", done.stdout, re.MULTILINE)
    assert len(printed) == len(NEEDY), done.stdout
    for install in NEEDY.values():
        assert any(re.fullmatch(install, one) for one in printed), install
    assert "passed" not in done.stdout
