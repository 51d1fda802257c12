"""Prints how worlds end, by what is drawn in them.

    EXPORTER_WORLDS_DRAW=bounds,clock python -m tests.simulation WORLDS FIRST

This lives WORLDS worlds that have a quirk, from the seed FIRST on. A world counts for each of its quirks. The first few
of those that break a promise are named.
"""

import sys
from collections import Counter, defaultdict
from itertools import count as count_from
from itertools import islice

from tests.simulation.quirks import DRAWN, ENDINGS, Quirks
from tests.simulation.test_worlds import live

_MOST_TOLD = 3


def main(count: int, first: int) -> None:
    """Prints a line for each quirk; worlds without any are lived only if none can be drawn."""
    endings: dict[str, Counter[str]] = defaultdict(Counter)
    broken: dict[str, list[str]] = defaultdict(list)
    for seed in islice((seed for seed in count_from(first) if Quirks(seed).drawn or not DRAWN), count):
        names = [quirk.name for quirk in Quirks(seed).drawn] or ["none"]
        try:
            ending: str = live(seed).ending
        except (Exception, ExceptionGroup) as error:  # noqa: BLE001 - told below
            ending = "broken"
            reason = " ".join(str(error).split())[:200]
            for name in names:
                broken[name].append(f"world {seed} ({', '.join(names)}): {reason}")
        for name in names:
            endings[name][ending] += 1
    columns = (*ENDINGS, "broken")
    print("".join(f"{title:>10}" for title in ("worlds", *columns)), " quirk")
    for name, counts in sorted(endings.items()):
        print("".join(f"{number:>10}" for number in (counts.total(), *map(counts.get, columns, [0] * 4))), f" {name}")
        for told in broken[name][:_MOST_TOLD]:
            print(f"{'':50}   {told}")


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(*(numbers + [160, 0][len(numbers) :]))
