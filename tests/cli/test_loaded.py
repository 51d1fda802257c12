"""A command loads no more than what it does next needs, because a person, a shell or a schedule waits for it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from exporter.cli.about import ABOUT
from exporter.cli.commands import module_of

#: Starts a command in this process, and tells what is loaded when its first request has come, or else when it ends.
PROGRAM = """
import os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

before, loaded = set(sys.modules), []

class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        loaded.append(set(sys.modules))
        self.send_error(401)

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["ANYREACH_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
sys.argv[0] = "exporter"
from exporter.__main__ import main
try:
    main()
finally:
    loaded.append(set(sys.modules))
    with open(os.environ["LOADED"], "w") as file:
        file.write(" ".join([str(len(loaded)), *loaded[0].difference(before)]))
"""
#: Each takes longer to load than all that a help is made of.
HEAVY = {"pyarrow", "aiohttp", "anyio", "asyncio", "yarl", "pydantic", "rich", "tomllib", "numpy", "duckdb"}


def loaded_by(tmp_path: Path, *words: str, **variables: str) -> tuple[int, set[str]]:
    """Returns how many requests a command sends, and what it loads up to the first, or up to its end without any."""
    told = tmp_path / "loaded"
    environment = {**os.environ, "ANYREACH_TOKEN": "ak_0123456789abcdef", "LOADED": str(told), **variables}
    subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, env=environment, check=False)
    count, *names = told.read_text().split()
    return int(count) - 1, set(names)


def commands_in(loaded: set[str]) -> set[str]:
    """Returns the commands among modules."""
    modules = {f"exporter.cli.{module_of(name)}": name for name in ABOUT}
    return {name for module, name in modules.items() if module in loaded}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--help", set()),
        ("--version", set()),
        ("nonsense", set()),
        ("export --help", {"export"}),
        ("export out --page-size 0", {"export"}),
        ("status --help", {"status"}),
        ("recordings cat --help", {"recordings cat"}),
        ("help sync", {"sync"}),
        ("help troubleshooting", set()),
        ("keygen --help", {"keygen"}),
    ],
)
def test_a_line_loads_the_command_that_it_names_and_nothing_heavy(line: str, named: set[str], tmp_path: Path) -> None:
    requests, loaded = loaded_by(tmp_path, *line.split())
    # These two are the program's own: the pages of the manual end a help, and the version is an option.
    assert commands_in(loaded) - {"help", "version"} == named
    assert (requests, HEAVY & loaded) == (0, set())


@pytest.mark.parametrize(("line", "named"), [("exporter ", set()), ("exporter export out --sta", {"export"})])
def test_a_completion_loads_the_command_that_it_is_in_and_nothing_heavy(
    line: str, named: set[str], tmp_path: Path
) -> None:
    at = str(len(line.split()) - (not line.endswith(" ")))
    asked = {"_EXPORTER_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": at}
    requests, loaded = loaded_by(tmp_path, **asked)
    assert commands_in(loaded) - {"help", "version"} == named
    assert (requests, (HEAVY - {"rich"}) & loaded) == (0, set())


@pytest.mark.parametrize("command", ["export", "sync"])
def test_a_run_asks_before_it_loads_what_reads_and_writes_rows(command: str, tmp_path: Path) -> None:
    assert find_spec("pandas") is not None
    requests, loaded = loaded_by(tmp_path, command, str(tmp_path / "out"))
    assert requests >= 1
    assert {"pyarrow", "numpy", "exporter.parts", "exporter.lake.delta", "exporter.run.session"} & loaded == set()
    assert {"pandas", "pydantic", "tomllib", "rich"} & loaded == set()


def test_a_whole_run_loads_neither_numpy_nor_pandas(tmp_path: Path) -> None:
    assert find_spec("numpy") is not None and find_spec("pandas") is not None
    _, loaded = loaded_by(tmp_path, "demo", str(tmp_path / "out"), "--rows", "20")
    assert {"pyarrow.parquet", "exporter.parts.writer"} <= loaded
    assert {"numpy", "pandas"} & loaded == set()
