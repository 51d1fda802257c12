"""Protects rows that are stored as they were served: writes parts and quarantine files again, for a commit to name."""

from collections.abc import Mapping
from pathlib import Path

from anyio import to_thread

from exporter.contract import parse_timestamp
from exporter.encode.protect.protector import Protector
from exporter.encode.rows import Misfit
from exporter.log.quarantine import line_of, read_line
from exporter.model import DataFile, QuarantineFile
from exporter.parts.columns import complete
from exporter.parts.integrity import as_written
from exporter.parts.reader import read_batches
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import read_lines, write_lines
from exporter.pipeline.table_parts import TablesWriter


async def protect_part(stage: PartStage, file: DataFile, protector: Protector) -> tuple[DataFile, ...]:
    """Publishes a part of conversations with the rows of `file`, protected, and the part of their turns.

    `protector` has the rules that were not applied to these rows yet. Nothing is committed. Raises `StoreError`.
    """
    writer = stage.new_part()
    try:
        async with as_written(stage.store, file, stage.working) as source:
            await to_thread.run_sync(_copy, source, writer, protector, limiter=stage.working)
        finished = await to_thread.run_sync(writer.close, limiter=stage.working)
    except BaseException:
        writer.abort()
        raise
    return await stage.publish(finished.closed(file.partition, file.window, file.absent, file.withheld_rows))


async def withhold_rows(
    stage: PartStage, files: Mapping[str, QuarantineFile], protector: Protector
) -> tuple[QuarantineFile, ...]:
    """Writes quarantine files with the rows of `files`, withheld. Nothing is committed. Raises `StoreError`."""
    made = []
    for path, file in sorted(files.items()):
        lines = await read_lines(stage.store, file)
        withheld = [line_of(protector.withhold(_misfit(line))) for line in lines]
        made.append(await write_lines(stage.store, stage.next_name(), withheld, file.window, rest_of=path))
    return tuple(made)


def _copy(source: Path, writer: TablesWriter, protector: Protector) -> None:
    for batch in read_batches([source]):
        writer.write(protector.protect(complete(batch, writer.schema)))


def _misfit(line: bytes) -> Misfit:
    known = read_line(line)
    return Misfit(known.id, parse_timestamp(known.created_at), known.reason, known.row.encode())
