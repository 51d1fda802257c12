"""Opens catalogs of Iceberg tables: the export's own, or one of pyiceberg's configuration. Blocking."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.utils.config import Config

from exporter.errors import DestinationError
from exporter.lake.place import LakePlace
from exporter.lake.sure import sure
from exporter.layout import ICEBERG
from exporter.model import TableFormat
from exporter.store.disk import finish, make_directories, open_private

#: Settings of a catalog that name S3 Tables, if they hold that name.
_S3_TABLES: Final = ("warehouse", "glue.id", "rest.signing-name")


def check_catalog(name: str) -> None:
    """Raises `DestinationError` for a catalog that keeps tables only where it decides."""
    if _is_s3_tables(name):
        raise DestinationError(
            f"--iceberg-catalog {name}: this is a catalog of S3 Tables, which keeps its tables in storage "
            "of its own, and the parts of an export stay where they are. Give a Glue, REST or SQL catalog, or leave "
            "--iceberg-catalog out"
        )


def _is_s3_tables(catalog: str) -> bool:
    settings = Config().get_catalog_config(catalog) or {}
    host = urlsplit(str(settings.get("uri", ""))).hostname or ""
    return host.startswith("s3tables.") or any("s3tables" in str(settings.get(name, "")) for name in _S3_TABLES)


def is_there(place: LakePlace, format_: TableFormat) -> bool:
    """Returns whether opening the catalog of an export's tables would create nothing."""
    return format_.catalog is not None or place.bucket is not None or _database(place).exists()


def open_catalog(place: LakePlace, format_: TableFormat) -> Catalog:
    """Returns the catalog of an export's tables, whose answers are sure; on a disk, it may be new.

    Raises what the catalog's client raises.
    """
    if format_.catalog is not None:
        catalog = load_catalog(format_.catalog)
        if place.bucket is not None:
            from exporter.lake.files import BUCKET, BucketFiles

            # The table's files go the way of the export's; what the configuration says of stores is for readers.
            files = f"{BucketFiles.__module__}.{BucketFiles.__qualname__}"
            catalog.properties = {**catalog.properties, "py-io-impl": files, BUCKET: place.bucket}
        return sure(catalog)
    if place.bucket is not None:
        from exporter.lake.pointer import ExportCatalog

        return sure(ExportCatalog(place.bucket))
    database = _database(place)
    is_new = not database.exists()
    # As SQLite makes the file, other users could read it.
    make_directories(database.parent, set(), place.file_mode)
    with open(database, "ab", opener=open_private) as file:
        if is_new:
            finish(file.fileno(), place.file_mode)
    return sure(SqlCatalog("exporter", uri=f"sqlite:///{database}"))


def _database(place: LakePlace) -> Path:
    return Path(place.uri) / ICEBERG / "catalog.db"
