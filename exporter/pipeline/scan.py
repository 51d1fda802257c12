"""Describes what a run reads of the API's list."""

import msgspec
from msgspec.structs import replace

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.model import PageRequest


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what is read, as plain data that can be sent to another process.

    `range` is all that the run is about, and `windows`, disjoint and ascending, what is read of it. An unfiltered list
    leaves out the conversations of `hidden_status`, which are read by a list of their own. Conversations that were not
    updated since `updated_since` are not asked for; if it `prefers_hidden`, nor need be any of another status.
    """

    range: Interval
    windows: tuple[Interval, ...] = ()
    hidden_status: str | None = None
    updated_since: Instant | None = None
    prefers_hidden: bool = False

    @property
    def begins_range(self) -> bool:
        """Returns whether it reads the beginning of the range."""
        return len(self.windows) > 0 and self.windows[0].start == self.range.start

    def narrowed(self, request: PageRequest) -> PageRequest:
        """Returns `request`, bounded by `updated_since` if the export's filters apply to it."""
        if self.updated_since is None or not request.filtered:
            return request
        return replace(request, updated_after=max(self.updated_since, request.updated_after or self.updated_since))
