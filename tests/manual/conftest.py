"""Makes the export and the server that the examples of the manual run against."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import make_conversations
from tests.toolkit.manual import README, run_shell, serving

JANUARY = parse_timestamp("2026-01-01")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a directory in which the README's own demo has run."""
    directory = tmp_path_factory.mktemp("manual")
    done = run_shell(README.command_holding(".venv/bin/exporter demo").rpartition("&&")[2], directory)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def api() -> Iterator[str]:
    """Returns the address of a server with conversations of the months that the manual exports, and around them."""
    with serving(make_conversations(300, JANUARY - 31 * DAY, JANUARY + 90 * DAY)) as url:
        yield url
