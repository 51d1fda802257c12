"""Lets results name what an export was asked for, and what of that was not shown, as their JSON does."""

from exporter.log.served import served_fields
from exporter.log.state import State
from exporter.settings import Filters, PartitionBy, Request


def withheld_of(state: State) -> tuple[str, ...]:
    """Returns the sensitive fields that were not shown to the token.

    A field that came with no row is not one of them if the token saw others: the API left it out as null.
    """
    blind = any(state.conversations.each_of("withheld_rows"))
    return tuple(served_fields(state).withheld) if blind else ()


class Requested:
    """Gives what a result's `request` says under the names of the JSON."""

    __slots__ = ()

    request: Request | None

    @property
    def filters(self) -> Filters:
        """Returns the filters by name, each with its value, or with several."""
        return self._asked.filters

    @property
    def ignored_filters(self) -> tuple[str, ...]:
        """Returns the filters that the API did not heed when the export began."""
        return self._asked.ignored_filters

    @property
    def fields(self) -> tuple[str, ...] | None:
        """Returns the fields that were asked for; None means all."""
        return self._asked.fields

    @property
    def partition_by(self) -> PartitionBy:
        """Returns the unit of time that has a directory each."""
        return self._asked.partition_by

    @property
    def timezone(self) -> str:
        """Returns the time zone of the partitions."""
        return self._asked.timezone

    @property
    def tables(self) -> tuple[str, ...]:
        """Returns the names of the tables."""
        return self._asked.tables

    @property
    def _asked(self) -> Request:
        return self.request or Request()
