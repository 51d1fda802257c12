import shlex
import sys

from exporter.words import did_you_mean, install_command, nearest


def test_a_package_is_installed_where_the_exporter_runs() -> None:
    command = shlex.split(install_command("pyiceberg[sql-sqlite]"))
    assert command == [sys.executable, "-m", "pip", "install", "pyiceberg[sql-sqlite]"]


def test_the_nearest_known_name_ignores_case_and_dashes() -> None:
    known = ("agent_id", "status", "duration", "web_widget_id")
    assert nearest("agnt_id", known) == "agent_id"
    assert nearest("Agent-ID", known) == "agent_id"
    assert nearest("durration", known) == "duration"
    assert nearest("page", known) is None
    assert did_you_mean("stauts", known) == " Did you mean status?"
    assert did_you_mean("x", known) == ""
