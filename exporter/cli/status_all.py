"""`exporter status --all`: the status of each export of a config file."""

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter.cli.machine import translating
from exporter.cli.status_report import status_figures
from exporter.cli.times import for_people
from exporter.errors import ExporterError, NoExportError, UsageError
from exporter.options.config import Config, Entry, load_config
from exporter.options.config_place import find_config
from exporter.options.recordings import to_retention
from exporter.store.location import parse_location
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.status import Status

#: Stores are slow to answer, and each reader of a log takes memory.
_AT_ONCE: Final = 8
_HEAD: Final = ("export", "state", "conversations", "all changes up to", "")
#: The column of numbers, which end below one another.
_NUMBERS: Final = 2


class Found(NamedTuple):
    """Holds what is known of one export: its status, or why that cannot be told."""

    name: str
    entry: Entry | None
    status: "Status | None"
    error: ExporterError | None = None

    @property
    def exit_status(self) -> int:
        """Returns the exit status that a run would end with, by what is recorded, or that of the error."""
        return self.status.exit_status if self.status else self.error.exit_status if self.error else 0

    @property
    def reason(self) -> str:
        """Returns why the exit status is another one than 0."""
        return self.status.reason if self.status else str(self.error)


def load_all(given: str | None) -> Config:
    """Returns the config file that is given, or else found. Raises `UsageError` if there is none."""
    if (path := find_config(given, os.environ)) is None:
        raise UsageError("--all: there is no config file. Write exporter.toml (exporter help config), or give --config")
    return load_config(path, os.environ)


async def read_all(
    config: Config, *, check: bool, updated_after: datetime | None, recording_retention: str | None
) -> list[Found]:
    """Returns the status of every export, in the order of the file. What stops one of them stops no other."""
    import anyio

    from exporter.jobs.status import status

    limiter, found = anyio.CapacityLimiter(_AT_ONCE), dict[str, Found]()

    async def read(name: str) -> None:
        entry = None
        async with limiter:
            try:
                with translating():
                    entry = config.entry(name, ("recording_retention",))
                    kept = recording_retention or entry.options.get("recording_retention")
                    read = await status(
                        parse_location(entry.destination),
                        check=check,
                        updated_after=updated_after,
                        retention_seconds=None if kept is None else to_retention(kept),
                    )
                found[name] = Found(name, entry, read)
            except NoExportError as error:
                error.with_message("no export there yet: exporter run --all begins it")
                found[name] = Found(name, entry, None, error)
            except ExporterError as error:
                found[name] = Found(name, entry, None, error)

    async with anyio.create_task_group() as group:
        for name in config.names:
            group.start_soon(read, name)
    return [found[name] for name in config.names]


def describe_all(found: Sequence[Found], config: Config) -> Iterator[str]:
    """Says in a table how far each export is, and what is wrong with it."""
    well = sum(each.status is not None and not each.exit_status for each in found)
    wrong = f", {len(found) - well} to look at" if well < len(found) else ""
    yield f"{count_of(len(found), 'export')} in {config.path}: {well} well{wrong}"
    yield from _table([_HEAD, *map(_row, found)])


def figures_of_all(found: Iterable[Found]) -> list[dict[str, Any]]:
    """Returns an object for each export: its name, the exit status that a run would have, and its status."""
    return [
        {
            "name": each.name,
            "destination": None if each.entry is None else each.entry.destination,
            "exit_status": each.exit_status,
            "reason": each.reason,
            **_figures(each.status),
        }
        for each in found
    ]


def _figures(found: "Status | None") -> dict[str, Any]:
    if found is None:
        return {}
    return {key: value for key, value in status_figures(found).items() if (key, value) != ("erasures", None)}


def _row(found: Found) -> tuple[str, ...]:
    if (status := found.status) is None:
        return found.name, "unknown", "", "", found.reason.partition("\n")[0]
    current = "" if status.updates_since is None else f"{for_people(status.updates_since)} UTC"
    at_work = "" if status.holder is None else f"locked by {status.holder}"
    return found.name, status.state, f"{status.rows:,}", current, status.reason or at_work


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number == _NUMBERS else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()
