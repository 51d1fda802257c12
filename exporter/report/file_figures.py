"""Describes the files of an export, by table and by partition, and how it has grown. Pure."""

from collections.abc import Sequence
from typing import Final

from exporter.contract import instant_of
from exporter.layout import ALL_TABLES, partition_text
from exporter.log.journal import RunRecord
from exporter.log.state import State
from exporter.model import DataFile
from exporter.report.calendar import Calendar
from exporter.report.groups import evenly
from exporter.report.model import Absent, Files, Growth, PartitionFiles, TableFiles

#: A file with fewer bytes is small, if its partition has another one of its table to be joined with.
SMALL_BYTES: Final = 16 * 1024 * 1024
_MOST_PARTITIONS: Final = 60
_MOST_POINTS: Final = 200


def describe_files(state: State, runs: Sequence[RunRecord], calendar: Calendar) -> Files:
    """Describes all files of a state, and its growth over the recorded runs, in order of time."""
    small = _small_files(state)
    partitions: dict[str, list[DataFile]] = {}
    for file in sorted(state.files.values(), key=lambda file: (file.created_at_min, file.path)):
        partitions.setdefault(partition_text(file.partition), []).append(file)
    tables = []
    for table in ALL_TABLES:
        files = [file for file in state.files.values() if file.table == table]
        if files:
            tables.append(
                TableFiles(
                    table=table,
                    files=len(files),
                    rows=sum(file.rows for file in files),
                    bytes=sum(file.size_bytes for file in files),
                    small_files=sum(file.path in small for file in files),
                    partitions=len({partition_text(file.partition) for file in files}),
                )
            )
    latest = [*partitions.items()][-_MOST_PARTITIONS:]
    return Files(
        small_bytes=SMALL_BYTES,
        tables=tuple(tables),
        partitions=tuple(
            PartitionFiles(
                name=name,
                files=len(files),
                small_files=sum(file.path in small for file in files),
                rows=sum(file.rows for file in files),
                bytes=sum(file.size_bytes for file in files),
            )
            for name, files in latest
        ),
        partitions_count=len(partitions),
        growth=_growth(runs, calendar),
    )


def _small_files(state: State) -> set[str]:
    """Returns the paths of files that are smaller than they need be."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in state.files.values():
        if file.size_bytes < SMALL_BYTES:
            found.setdefault((file.table, partition_text(file.partition)), []).append(file.path)
    return {path for paths in found.values() if len(paths) > 1 for path in paths}


def _growth(runs: Sequence[RunRecord], calendar: Calendar) -> tuple[Growth, ...] | Absent:
    latest = {run.generation: run for run in runs if run.generation is not None and run.rows is not None}
    points = [
        Growth(
            generation=generation,
            at=calendar.text(instant_of(run.ended_at)),
            rows=run.rows or 0,
            files=run.files or 0,
            bytes=run.bytes or 0,
        )
        for generation, run in sorted(latest.items())
    ]
    return tuple(evenly(points, _MOST_POINTS)) if points else Absent("no run is recorded")
