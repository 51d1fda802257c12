"""Says how large the long tests are: small on each day, and large when somebody asks for a thorough run.

EXPORTER_THOROUGH=1 pytest        every long test in its larger size
"""

import os
from collections.abc import Sequence
from itertools import product
from typing import Any, Final

THOROUGH: Final = "EXPORTER_THOROUGH"


def size_of(everyday: int, thorough: int, variable: str = "") -> int:
    """Returns the number in the environment variable, if one is named and set, or the one for this kind of run."""
    return int(os.environ.get(variable) or (thorough if THOROUGH in os.environ else everyday))


def combinations(*choices: Sequence[Any], one_in: int) -> list[tuple[Any, ...]]:
    """Returns every combination in a thorough run, and otherwise about one in this many.

    Each choice is in some of them, unless the other lists have fewer choices than this.
    """
    numbered = product(*map(enumerate, choices))
    return [
        tuple(choice for _, choice in drawn)
        for drawn in numbered
        if THOROUGH in os.environ or sum(number for number, _ in drawn) % one_in == 0
    ]
