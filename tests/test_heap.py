"""Tests that Arrow, and Parquet beneath it, give back what they have freed."""

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


def test_a_command_takes_all_memory_of_arrow_and_parquet_from_the_heap_that_it_tunes() -> None:
    done = subprocess.run([sys.executable, "-c", WRITE], capture_output=True, text=True, check=True)
    assert done.stderr == "0 ['system']\n"
