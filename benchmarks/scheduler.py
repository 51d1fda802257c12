"""How well the work is shared out, in simulated time: real walks and the real scheduler, and a server made of numbers.

    python -m benchmarks.scheduler [--pages 600] [--page-rows 200] [--days 60] [--seeds 1]

Run it where the repository is checked out. For each density and number of workers (requests in flight) it prints the
time a run took ÷ the ideal (full pages alone, evenly shared, without a first or a last one to wait for), the requests
÷ the pages that the rows fill, and the windows. A request takes 0.7 to 1.3 seconds. The mean of several `--seeds`.
"""

import argparse
import statistics

from exporter.contract import DAY
from exporter.model import Interval
from tests.plan.simulator import DENSITIES, T0, density, jitter, simulate

WORKERS = (4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=600)
    parser.add_argument("--page-rows", type=int, default=200)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    range_ = Interval(T0 - options.days * DAY, T0)
    print(f"{options.pages} pages over {options.days} days: time ÷ ideal, requests ÷ pages, windows")
    print("workers".ljust(14), *(f"{workers:^18}" for workers in WORKERS))
    for name in DENSITIES:
        servers = [
            density(name, options.pages * options.page_rows, options.days, seed) for seed in range(options.seeds)
        ]
        cells = []
        for workers in WORKERS:
            outcomes = [
                simulate(server, range_, workers, page_size=options.page_rows, latency=jitter(seed))
                for seed, server in enumerate(servers)
            ]
            slowdown = statistics.mean(outcome.slowdown for outcome in outcomes)
            overhead = statistics.mean(outcome.overhead for outcome in outcomes)
            windows = statistics.mean(outcome.windows for outcome in outcomes)
            cells.append(f"{slowdown:6.2f} {overhead:5.2f} {windows:5.0f}")
        print(name.ljust(14), *cells)


if __name__ == "__main__":
    main()
