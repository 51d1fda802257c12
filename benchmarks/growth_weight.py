"""Weighs the state of an export, in a process of its own.

python -m benchmarks.growth_weight DIR
"""

import gc
import resource
import sys
import time
from pathlib import Path

import anyio
import msgspec

from benchmarks.growth import Weight
from exporter.encode.tables import Tables
from exporter.layout import MANIFEST
from exporter.log.commits import load_state
from exporter.log.manifest import render_manifest, write_manifest
from exporter.pipeline.committer import pause_after_manifest
from exporter.store.local.store import LocalStore


async def weigh(root: Path) -> Weight:
    """Weighs the export at `root`, whose manifest is written again."""
    store = LocalStore(root)
    before = _held_bytes()
    state = await load_state(store)
    held = _held_bytes() - before
    assert state.request is not None
    schemas = Tables.of(state.request).schemas
    began = time.process_time()
    render_manifest(state, schemas=schemas)
    rendered = time.process_time() - began
    await store.delete(MANIFEST)
    began = time.perf_counter()
    await write_manifest(store, state, schemas=schemas)
    written = time.perf_counter() - began
    share = written / (written + pause_after_manifest(written))
    return Weight(held / len(state.live), rendered, written, share)


def _held_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(anyio.run(weigh, Path(sys.argv[1]))))
