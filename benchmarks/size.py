"""Defines how much is measured: all, enough to see within about a minute that it works, or as little as possible."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Size:
    """Holds the rows, rounds and latencies of each part. `memory_points` are pairs of rows and requests in flight.

    `recordings_…` are numbers of files, large, small, and fetched at the limit of this many bytes a second.
    `report_rows` is the number of conversations that a report is about.
    `privacy_…` are numbers of ids to hash and of transcripts to redact. Of `reading_pages` and `simulated_pages`, all
    cases are measured with the first number, and only those that have a target with others. `scale_…` are numbers of
    pages that two processes read, of rows on each, and of rounds.
    """

    rounds: int
    cost_rows: int
    reading_pages: tuple[int, ...]
    reading_in_flight: int
    reading_latency_seconds: float
    flight_levels: tuple[int, ...]
    flight_pages_each: int
    flight_latency_seconds: float
    flight_rounds: int
    memory_points: tuple[tuple[int, int], ...]
    memory_rounds: int
    start_rounds: int
    recordings_large: int
    recordings_small: int
    recordings_limited: int
    recordings_limit: int
    privacy_hashes: int
    privacy_transcripts: int
    simulated_pages: tuple[int, ...]
    simulated_workers: tuple[int, ...]
    tasks_rows: int
    tasks_slots: int
    growth_commits: int
    growth_parts: int
    growth_rounds: int
    report_rows: int
    scale_pages: int
    scale_page_rows: int
    scale_rounds: int


SIZES: Final = {
    "full": Size(
        rounds=3,
        cost_rows=60_000,
        reading_pages=(600, 60),
        reading_in_flight=16,
        reading_latency_seconds=0.3,
        flight_levels=(1, 2, 4, 8, 16, 32, 64),
        flight_pages_each=8,
        flight_latency_seconds=2.0,
        flight_rounds=2,
        memory_points=((60_000, 16), (60_000, 64), (300_000, 16), (1_000_000, 16)),
        memory_rounds=2,
        start_rounds=9,
        recordings_large=1_000,
        recordings_small=8_000,
        recordings_limited=64,
        recordings_limit=20_000_000,
        privacy_hashes=1_000_000,
        privacy_transcripts=20_000,
        simulated_pages=(600, 6_000),
        simulated_workers=(4, 8, 16, 32, 64, 128, 256),
        tasks_rows=1_000_000_000,
        tasks_slots=128,
        growth_commits=10_000,
        growth_parts=100_000,
        growth_rounds=5,
        report_rows=10_000_000,
        scale_pages=200,
        scale_page_rows=1000,
        scale_rounds=2,
    ),
    "quick": Size(
        rounds=1,
        cost_rows=6_000,
        reading_pages=(64,),
        reading_in_flight=8,
        reading_latency_seconds=0.2,
        flight_levels=(1, 4, 16),
        flight_pages_each=4,
        flight_latency_seconds=0.5,
        flight_rounds=1,
        memory_points=((6_000, 16), (6_000, 64), (24_000, 16)),
        memory_rounds=1,
        start_rounds=3,
        recordings_large=64,
        recordings_small=1_000,
        recordings_limited=16,
        recordings_limit=20_000_000,
        privacy_hashes=200_000,
        privacy_transcripts=2_000,
        simulated_pages=(60, 600),
        simulated_workers=(4, 16, 64),
        tasks_rows=100_000_000,
        tasks_slots=16,
        growth_commits=500,
        growth_parts=5_000,
        growth_rounds=1,
        report_rows=200_000,
        scale_pages=100,
        scale_page_rows=1000,
        scale_rounds=1,
    ),
    "tiny": Size(
        rounds=1,
        cost_rows=300,
        reading_pages=(3, 2),
        reading_in_flight=2,
        reading_latency_seconds=0.01,
        flight_levels=(1, 2),
        flight_pages_each=1,
        flight_latency_seconds=0.01,
        flight_rounds=1,
        memory_points=((300, 16), (600, 16)),
        memory_rounds=1,
        start_rounds=1,
        recordings_large=2,
        recordings_small=20,
        recordings_limited=1,
        recordings_limit=40_000_000,
        privacy_hashes=1_000,
        privacy_transcripts=100,
        simulated_pages=(10, 20),
        simulated_workers=(4, 16),
        tasks_rows=10_000_000,
        tasks_slots=4,
        growth_commits=20,
        growth_parts=100,
        growth_rounds=1,
        report_rows=300,
        scale_pages=70,
        scale_page_rows=10,
        scale_rounds=1,
    ),
}
