"""Tests that what Arrow, Parquet and all others have freed goes back to the system."""

import subprocess
import sys

#: A column of 30 MB takes five times as much while Parquet writes it. The pool that Arrow prefers would keep that.
WRITE = """
import io, sys
from exporter.cli import main
status = main(["schema"])
import pyarrow as pa, pyarrow.parquet as pq
pq.write_table(pa.table({"text": ["x" * 30_000_000]}), io.BytesIO(), compression="zstd")
pools = {name: getattr(pa, f"{name}_memory_pool")().max_memory() for name in pa.supported_memory_backends()}
print(status, [name for name, most_bytes in pools.items() if most_bytes > 0], file=sys.stderr)
"""

#: Half of 200 MB is freed, so that there is a hole between any two blocks. Ends once the system has it back.
MAKE_HOLES = """
import threading, time
from exporter import heap

heap._LOOK_SECONDS, heap._TRIM_CPU_SECONDS = 0.01, 0.0
for _ in range(3):
    heap.keep_heap_compact("export")
pages = lambda: int(open("/proc/self/statm").read().split()[1])
before = pages()
blocks = [b"x" * 100_000 for _ in range(2_000)]
full = pages()
del blocks[::2]
while pages() > before + 0.6 * (full - before):
    time.sleep(0.01)
print([thread.name for thread in threading.enumerate()])
"""


def test_a_command_takes_all_memory_of_arrow_and_parquet_from_the_heap_that_it_tunes() -> None:
    done = subprocess.run([sys.executable, "-c", WRITE], capture_output=True, text=True, check=True)
    assert done.stderr == "0 ['system']\n"


def test_what_is_free_between_what_is_held_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", MAKE_HOLES], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['MainThread', 'heap']\n", "")
