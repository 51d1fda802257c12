"""Whole exports in simulated worlds: their network, disk, time, crashes and servers all come from one number.

EXPORTER_WORLDS=100000 pytest tests/simulation/test_worlds.py            a night's work
EXPORTER_WORLDS=1 EXPORTER_FIRST_WORLD=4711 pytest tests/simulation/…    the one that failed
"""

import os
import tempfile
from pathlib import Path

from tests.simulation.world import World

WORLDS = int(os.environ.get("EXPORTER_WORLDS", "1000"))
FIRST_WORLD = int(os.environ.get("EXPORTER_FIRST_WORLD", "0"))
#: In memory, where there is such a place: an fsync costs nothing there.
BASE = next((path for path in ("/dev/shm", tempfile.gettempdir()) if os.access(path, os.W_OK)), None)


def live(seed: int) -> World:
    with tempfile.TemporaryDirectory(dir=BASE) as directory:
        root = Path(directory) / "disk"
        root.mkdir()
        world = World(seed, root)
        try:
            world.live()
        except BaseException as error:
            error.add_note(f"in world {seed}: {'; '.join(world.trace)}")
            raise
        return world


def test_every_world_ends_exact() -> None:
    for seed in range(FIRST_WORLD, FIRST_WORLD + WORLDS):
        live(seed)
