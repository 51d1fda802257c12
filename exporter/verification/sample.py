"""Chooses the share of the files that a verification reads if it does not read all of them."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from exporter.contract import DAY, Instant

#: The usual rhythms (1, 2, 5, 7, 14, 28, 30, 31, 90 or 365 days) are not multiples of 11 or of a larger prime.
_FEWEST_GROUPS: Final = 11


@dataclass(frozen=True, slots=True)
class Sample:
    """Contains about a share of all files: paths fall into `groups`, and each day has `width` of these from `first` on.

    Nothing needs to be remembered. Each day begins `width` groups after the day before, so that daily runs read
    everything in the least number of days. Because the number of groups is prime, a run every N days begins at each
    group in turn, and has read everything after as many runs as there are groups, unless N is a multiple of their
    number.
    """

    groups: int
    width: int
    first: int

    @classmethod
    def of(cls, share: float, now: Instant) -> "Sample":
        """Returns the sample of the day; `share` is above 0, up to 1."""
        groups = next(_primes_from(max(_FEWEST_GROUPS, math.ceil(1 / share))))
        width = groups if share >= 1 else max(1, round(share * groups))
        return cls(groups, width, now // DAY * width % groups)

    def __contains__(self, path: object) -> bool:
        group = int.from_bytes(hashlib.sha256(str(path).encode()).digest()[:8], "big") % self.groups
        return (group - self.first) % self.groups < self.width


def _primes_from(number: int) -> Iterator[int]:
    while True:
        if all(number % divisor for divisor in range(2, math.isqrt(number) + 1)):
            yield number
        number += 1
