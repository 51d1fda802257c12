"""Makes a catalog's answer to a commit certain, before pyiceberg acts on it. Blocking.

pyiceberg deletes the manifests that it has written as soon as a commit is answered as a conflict. If the commit was
done, and only the answer to it was lost, then a client or a load balancer that asks again meets what it has itself
written, and the newest snapshot of the table would name manifests that are gone: nobody could read the table any more.
"""

from typing import TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, NoSuchTableError
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AddSnapshotUpdate, AssignUUIDUpdate, RemoveSnapshotsUpdate, TableRequirement
from pyiceberg.table.update import TableUpdate as Update

C = TypeVar("C", bound=Catalog)


def sure(catalog: C) -> C:
    """Returns the catalog, which from now on looks after a commit that failed whether it was done: then the commit
    succeeds. If that cannot be found out, it raises `CommitStateUnknownException`, upon which nothing is deleted."""

    def commit_table(
        table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[Update, ...]
    ) -> CommitTableResponse:
        try:
            return type(catalog).commit_table(catalog, table, requirements, updates)
        except Exception as error:
            try:
                now = catalog.load_table(table.name())
            except NoSuchTableError:
                raise error from None
            except Exception as silence:
                if isinstance(error, CommitFailedException):
                    raise CommitStateUnknownException(str(error)) from silence
                raise error from None
            if not _shows(now.metadata, updates):
                raise
            return response(now.metadata, now.metadata_location)

    catalog.commit_table = commit_table  # type: ignore[method-assign]
    return catalog


def response(metadata: TableMetadata, location: str) -> CommitTableResponse:
    """Returns the answer to a commit that was done."""
    return CommitTableResponse.model_validate({"metadata": metadata, "metadata-location": location})


def _shows(metadata: TableMetadata, updates: tuple[Update, ...]) -> bool:
    """Returns whether a table shows that these updates were done; False if they are such as leave no sign."""
    there = {snapshot.snapshot_id for snapshot in metadata.snapshots}
    signs = [
        *(one.snapshot.snapshot_id in there for one in updates if isinstance(one, AddSnapshotUpdate)),
        *(there.isdisjoint(one.snapshot_ids) for one in updates if isinstance(one, RemoveSnapshotsUpdate)),
        *(str(one.uuid) == str(metadata.table_uuid) for one in updates if isinstance(one, AssignUUIDUpdate)),
    ]
    return bool(signs) and all(signs)
