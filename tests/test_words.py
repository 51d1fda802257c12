import shlex
import sys

from exporter.words import install_command


def test_a_package_is_installed_where_the_exporter_runs() -> None:
    command = shlex.split(install_command("pyiceberg[sql-sqlite]"))
    assert command == [sys.executable, "-m", "pip", "install", "pyiceberg[sql-sqlite]"]
