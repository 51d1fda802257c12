"""Estimates how many pages lie in a stretch of time that nobody has read yet, from what was seen at its two ends."""

import math

import msgspec

from exporter.contract import Instant


class Stretch(msgspec.Struct, frozen=True):
    """Spans `length` microseconds with `top` pages a microsecond at its upper end and `bottom` at its lower, both above
    0.

    In between, the density is assumed to grow or shrink by a constant factor: where it is the same at both ends it is
    even, and where a burst ends on the way to a desert, half of the pages are looked for near the burst.
    """

    length: Instant
    top: float
    bottom: float

    @property
    def pages(self) -> float:
        """Returns how many pages there should be."""
        return self.pages_above(self.length)

    @property
    def most_pages(self) -> float:
        """Returns how many pages there are if it is as dense everywhere as at its denser end."""
        return max(self.top, self.bottom) * self.length

    def pages_above(self, depth: Instant) -> float:
        """Returns the pages in the uppermost `depth` microseconds."""
        slope = self._slope
        return self.top * (math.expm1(slope * depth) / slope if slope else depth)

    def depth_of(self, pages: float) -> Instant:
        """Returns how far down the uppermost `pages` reach; at most the whole length."""
        if pages >= self.pages:
            return self.length
        slope = self._slope
        return round(math.log1p(pages * slope / self.top) / slope if slope else pages / self.top)

    def density_at(self, depth: Instant) -> float:
        """Returns the pages a microsecond at this depth."""
        return self.top * math.exp(self._slope * depth)

    @property
    def _slope(self) -> float:
        return math.log(self.bottom / self.top) / self.length
