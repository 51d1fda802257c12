"""Says what tables an export is kept as, and where, without opening any. Pure."""

import msgspec

from exporter.layout import ICEBERG
from exporter.log.state import State
from exporter.model import RECORDINGS, TableKind
from exporter.store.location import Location, Url


class KeptTables(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the tables of an export. `places` are their directories, by name; there may be nothing there yet.

    `catalog` is where Iceberg tables are found, in `namespace`: the name of a catalog in pyiceberg's configuration, or
    the path of the export's own. Both are None for tables that are opened by their directory.
    """

    kind: TableKind
    catalog: str | None
    namespace: str | None
    places: dict[str, str]


def table_names(state: State) -> list[str]:
    """Returns the names of the tables of an export that has begun."""
    from exporter.encode.tables import Tables

    asked = [] if state.request is None else Tables.of(state.request).schemas
    return [name for name in asked if name != RECORDINGS or state.has_recordings]


def kept_tables(state: State, destination: Location) -> KeptTables | None:
    """Returns what tables the export at `destination` is kept as, or None if it has no table format."""
    format_ = state.table_format
    if format_ is None:
        return None
    above = f"{ICEBERG}/" if format_.kind == "iceberg" else ""
    catalog = format_.catalog
    if format_.kind == "iceberg" and catalog is None and not isinstance(destination, Url):
        catalog = str(destination / ICEBERG / "catalog.db")
    return KeptTables(
        kind=format_.kind,
        catalog=catalog,
        namespace=None if catalog is None else format_.namespace,
        places={name: str(destination / f"{above}{name}") for name in table_names(state)},
    )
