"""Compares the Delta and Iceberg tables of an export with its log."""

from exporter.errors import ForeignTableError
from exporter.lake.follow import open_tables, steps_to
from exporter.lake.place import LakePlace
from exporter.store.base import Store
from exporter.verification.inspection import Inspection
from exporter.verification.problems import Problem


async def inspect_tables(store: Store, findings: Inspection) -> list[Problem]:
    """Returns what is wrong with the tables, and notes which are there. Raises `StoreError` for one that cannot be
    read."""
    state, problems = findings.state, []
    with open_tables(store, state) as tables:
        for table in tables:
            place = table.where.removeprefix(f"{LakePlace.of(store).uri}/")
            try:
                ((shown, step),) = await steps_to(store, state, [table])
            except ForeignTableError as error:
                findings.tables.append(table.name)
                problems.append(Problem(place, "table", f"not as the exporter left it: {error.what}"))
                continue
            if shown is not None:
                findings.tables.append(table.name)
            is_lost = shown is not None and not shown.is_found
            if is_lost or (step is not None and state.is_whole):
                detail = "is behind the log, as after a run that was killed; the next run brings it up to date"
                problems.append(Problem(place, "behind", detail))
    return problems
