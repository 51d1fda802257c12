"""Which share of the files a verification reads, when it is not to read all of them."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from exporter.contract import DAY, Instant

#: The usual rhythms (1, 2, 5, 7, 14, 28, 30, 31, 90 or 365 days) are no multiples of 11 nor of a larger prime.
_FEWEST_GROUPS: Final = 11


@dataclass(frozen=True, slots=True)
class Sample:
    """About `share` (above 0, up to 1) of all files: the groups of the day, of `groups` that the paths fall into.

    Nothing has to be remembered. Each day begins `width` groups after the day before, so on consecutive days the
    whole is read in the least number of days; and since the number of groups is prime, a run every so many days
    begins at each group in turn, and has read everything after as many runs as there are groups, unless that number
    of days is a multiple of theirs.
    """

    groups: int
    width: int
    first: int

    @classmethod
    def of(cls, share: float, now: Instant) -> "Sample":
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
