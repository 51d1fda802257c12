"""Makes snapshots of runs, as observers get them."""

from msgspec.structs import replace

from exporter.progress import Snapshot

START = Snapshot(
    share=0.0, rows=0, bytes=0, files=0, requests=0, retries=0, throttled=0, in_flight=8, windows=1, seconds=0.0
)


def at(
    seconds: float, share: float, rows: int = 0, requests: int = 0, files: int = 0, stored_rows: int = 0
) -> Snapshot:
    return replace(
        START, seconds=seconds, share=share, rows=rows, requests=requests, files=files, stored_rows=stored_rows
    )
