"""Stages never import a sibling, and imports only go down (`tool.importlinter`)."""

import subprocess
import sys
from pathlib import Path

import pytest

import exporter

ROOT = Path(__file__).parents[1]


def test_imports_keep_to_the_layers() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 kept, 0 broken" in result.stdout


def test_the_package_loads_nothing_that_takes_time_until_a_name_is_used() -> None:
    heavy = ["pyarrow", "aiohttp", "anyio", "asyncio", "msgspec", "typer", "rich", "structlog", "duckdb"]
    code = (
        "import sys, exporter; exporter.__version__; dir(exporter)\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "print(exporter.ExportSpec.__name__, [name for name in ['pyarrow', 'aiohttp'] if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "ExportSpec []"]


def test_every_public_name_is_there_and_no_other() -> None:
    assert exporter.__all__ == sorted(exporter.__all__, key=lambda name: (not name[0].isupper(), name))
    for name in exporter.__all__:
        assert getattr(exporter, name) is not None
    assert set(exporter.__all__) <= set(dir(exporter))
    with pytest.raises(AttributeError, match="no attribute 'exports'"):
        exporter.exports  # noqa: B018
