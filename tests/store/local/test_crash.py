"""Killed at any instant, a run leaves nothing half done under a final name, and the next run ends as if nothing was."""

import asyncio
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from exporter.log.commits import load_state
from exporter.log.state import State, state_name
from exporter.store.local.store import LocalStore
from tests.toolkit.sizes import size_of

SCRIPT = Path(__file__).with_name("crashing_run.py")


@pytest.fixture(scope="module")
def scenario() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crashing_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(root: Path) -> State:
    """Checks what holds at every instant: for a reader of the log, of the manifest, and of the files alone."""
    state = asyncio.run(load_state(LocalStore(root)))
    for file in state.files.values():
        assert hashlib.sha256((root / file.path).read_bytes()).hexdigest() == file.sha256
    for path in root.rglob("*.parquet"):
        pq.read_table(path)
    if (root / "_manifest.json").exists():
        manifest = json.loads((root / "_manifest.json").read_bytes())
        assert manifest["generation"] <= state.number
        for listed in manifest["tables"]["conversations"]["files"]:
            assert hashlib.sha256((root / listed["path"]).read_bytes()).hexdigest() == listed["sha256"]
    if (root / "_SUCCESS").exists():
        assert manifest["state"] == state_name(state) == "complete"
    return state


def test_every_instant_can_be_the_last(tmp_path: Path, scenario: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    output = subprocess.run([sys.executable, SCRIPT, tmp_path], check=True, capture_output=True, text=True).stdout
    roots = [Path(line) for line in output.splitlines()]
    assert len(roots) > 80
    whole = check(roots[-1])
    assert state_name(whole) == "complete"
    assert whole.number == 4
    for root in roots[:: size_of(6, 1)]:
        if root.exists():
            check(root)
        asyncio.run(scenario.run(root))
        assert check(root) == whole
        left = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        assert left == {
            *whole.files,
            *(f"_exporter/commits/0000000{number}.json" for number in range(1, 5)),
            "_exporter/lock",
            "_manifest.json",
            "_SUCCESS",
        }
