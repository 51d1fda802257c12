"""Says how large the long tests are: small on each day, and large when somebody asks for a thorough run.

EXPORTER_THOROUGH=1 pytest        every long test in its larger size
"""

import os
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Final

import pytest

THOROUGH: Final = "EXPORTER_THOROUGH"


def size_of(everyday: int, thorough: int, variable: str = "") -> int:
    """Returns the number in the environment variable, if one is named and set, or the one for this kind of run."""
    return int(os.environ.get(variable) or (thorough if THOROUGH in os.environ else everyday))


def some_of(choices: Iterable[Any], *everyday: Any) -> list[Any]:
    """Returns every choice, for `parametrize`; only a thorough run tries those that are not `everyday`.

    A tuple has the values of several names.
    """
    choices = list(choices)
    assert all(choice in choices for choice in everyday), everyday
    left = [choice if isinstance(choice, tuple) else (choice,) for choice in choices if choice not in everyday]
    return [*everyday, *(pytest.param(*values, marks=pytest.mark.thorough) for values in left)]


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
