"""Says how many rows of a part were served without a field, after a merge has taken rows from it and put others in."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

from anyio import to_thread

from exporter.model import DataFile
from exporter.parts.merge import MergePlan, count_rest
from exporter.parts.nulls import Nulls
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.spool_sink import SpooledPart, count_absent
from exporter.schedule.homes import Home

#: The number of rows served without a field, by field, and of those without any sensitive one, as in `DataFile`.
Marks: TypeAlias = tuple[Mapping[str, int], int]


async def marks_by_rows(
    home: Home, path: Path, plan: MergePlan, spooled: Collection[SpooledPart], stage: PartStage
) -> Marks:
    """Returns the marks of a part of which all rows are known except those that were not read again."""
    absent, withheld, old = count_absent(spooled), sum(part.withheld_rows for part in spooled), home.file
    if old is not None and (old.absent or old.withheld_rows):
        rest = await to_thread.run_sync(count_rest, path, plan, limiter=stage.working)
        absent.update({name: min(count, rest.by_column[name]) for name, count in old.absent.items()})
        withheld += min(old.withheld_rows, rest.withheld_rows)
    return {name: count for name, count in absent.items() if count}, withheld


def marks_by_nulls(old: DataFile | None, lost: Nulls, spooled: Collection[SpooledPart], gained: Nulls) -> Marks:
    """Returns the marks of a part of which some rows have left, and to which some of those in `spooled` have come.

    Which of a part's rows were marked is not known. A row in which the field is null counts as one of them, as long as
    any are left: exact if all or none of the rows were served without it, and never more than there are nulls.
    """
    absent = Counter(old.absent if old else {})
    for name, count in absent.items():
        absent[name] = count - min(count, lost.by_column[name])
    withheld = old.withheld_rows - min(old.withheld_rows, lost.withheld_rows) if old else 0
    for name, count in count_absent(spooled).items():
        absent[name] += min(count, gained.by_column[name])
    return absent, withheld + min(sum(part.withheld_rows for part in spooled), gained.withheld_rows)
