"""Measures everything against the stand-in server; prints, keeps and draws the results.

Every figure is measured several times, in turns with what it is compared with. With --only, the other parts keep their
earlier results. It must run in a checkout of the repository, with the extra `bench`, on a machine that has nothing else
to do.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import (
    changes,
    convert,
    cost,
    encryption,
    erase,
    feed,
    flight,
    growth,
    lake,
    memory,
    privacy,
    reading,
    recordings,
    report,
    scale_out,
    simulated,
    stages,
    start,
    tasks,
)
from benchmarks.measurement import compile_sources
from benchmarks.results import load, save, this_session
from benchmarks.size import SIZES, Size
from benchmarks.targets import table

_HERE: Final = Path(__file__).parent


class _Part(NamedTuple):
    title: str
    measure: Callable[[Size, Path], Any]
    describe: Callable[[Any], list[str]]


#: The parts, by their field of `Results`.
PARTS: Final = {
    "start": _Part("Start", start.measure, start.describe),
    "cost": _Part("CPU and wall time", cost.measure, cost.describe),
    "stages": _Part("CPU by stage", stages.measure, stages.describe),
    "reading": _Part("Reading, by density", reading.measure, reading.describe),
    "flight": _Part("Rows a second against requests in flight", flight.measure, flight.describe),
    "memory": _Part("Memory", memory.measure, memory.describe),
    "recordings": _Part("Recordings", recordings.measure, recordings.describe),
    "privacy": _Part("Privacy", privacy.measure, privacy.describe),
    "encryption": _Part("Encryption", encryption.measure, encryption.describe),
    "erase": _Part("Erasing one person", erase.measure, erase.describe),
    "changes": _Part("Telling what a sync changes", changes.measure, changes.describe),
    "feed": _Part("What a sync has changed", feed.measure, feed.describe),
    "lake": _Part("Tables in an object store", lake.measure, lake.describe),
    "growth": _Part("Growth: many nights beside a young export", growth.measure, growth.describe),
    "convert": _Part("CSV and JSON Lines", convert.measure, convert.describe),
    "report": _Part("A report to look at", report.measure, report.describe),
    "scale_out": _Part("Two processes", scale_out.measure, scale_out.describe),
    "simulated": _Part("Simulated: how the work is shared out", simulated.measure, simulated.describe),
    "tasks": _Part("Simulated: how tasks elsewhere share out a long list", tasks.measure, tasks.describe),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="full", help="quick: a minute; full: a quarter of an hour")
    parser.add_argument("--quick", action="store_const", dest="size", const="quick", help="same as --size quick")
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        type=_names,
        metavar="PART",
        help=f"measure only these, divided by commas or spaces, of {', '.join(PARTS)}",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="measure each figure N times (default: 2 to 9)")
    parser.add_argument("--draw", action="store_true", help="measure nothing; print and draw the results that exist")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="default: results, or quick, beside this program",
    )
    options = parser.parse_args(arguments)
    output: Path = options.output or _HERE / ("results" if options.size == "full" else options.size)
    size = SIZES[options.size]
    if options.rounds:
        rounds: int = options.rounds
        size = replace(
            size,
            rounds=rounds,
            flight_rounds=rounds,
            memory_rounds=rounds,
            start_rounds=rounds,
            growth_rounds=rounds,
            scale_rounds=rounds,
        )
    wanted = set(chain.from_iterable(options.only or [PARTS]))
    chosen = () if options.draw else [name for name in PARTS if name in wanted]
    results = load(output / "results.json", options.size)
    compile_sources()
    for name in chosen:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as work:
            setattr(results, name, PARTS[name].measure(size, Path(work)))
        results.sessions[name] = this_session()
        # Each part is kept, even if the next one fails.
        save(output / "results.json", results)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    for name, part in PARTS.items():
        if (result := getattr(results, name)) is not None:
            print(f"\n{part.title}\n", *(f"  {line}" for line in part.describe(result)), sep="\n")
    machines = {session.machine for session in results.sessions.values()}
    print("", *(f"Measured on {machine}." for machine in sorted(machines)), "", *table(results), sep="\n")
    # Imported only now, because the libraries that draw are large.
    from benchmarks.picture import draw

    draw(results, output / "picture.svg")


def _names(text: str) -> list[str]:
    """Returns the parts that are named in `text`, divided by commas."""
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a part: choose from {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    main()
