"""Holds what an inspection has found, and opens files for it so that what is wrong with one is noted."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

import pyarrow as pa
from anyio import to_thread

from exporter.errors import DamagedPartError, UnreadableFileError, UnreadablePartError
from exporter.log.state import Commit, State
from exporter.model import ChangesFile, ExportFile
from exporter.parts.integrity import as_written
from exporter.schedule.homes import Place
from exporter.store.base import Store
from exporter.verification.problems import Problem
from exporter.verification.unfinished import Rewriting

T = TypeVar("T")
Opening: TypeAlias = Callable[[Store, ExportFile], AbstractAsyncContextManager[Path]]


@dataclass(slots=True)
class Inspection:
    """Holds what the log says, and how the destination differs from it. `unfinished` is a command that was cut short.

    `writer` is the run that was at work, if there was one. `place` and `schemas` are those of the tables; `tables` are
    the Delta or Iceberg tables that were compared with the log. `parts_read`, `bytes_read` and `ids_compared` count
    what was looked into. `closed` are the encrypted files that no key here opens: only their bytes were checked.
    """

    commits: Sequence[Commit]
    state: State
    place: Place
    schemas: dict[str, pa.Schema]
    problems: list[Problem] = field(default_factory=list)
    writer: str | None = None
    parts_read: int = 0
    bytes_read: int = 0
    ids_compared: int = 0
    media_read: int = 0
    media_bytes_read: int = 0
    strays: int = 0
    closed: set[str] = field(default_factory=set)
    unfinished: Rewriting | None = None
    tables: list[str] = field(default_factory=list)

    @property
    def unreadable(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.what == "unreadable"]


async def look(
    store: Store, findings: Inspection, file: ExportFile, read: Callable[[Path], T], opening: Opening = as_written
) -> T | None:
    """Returns the result of `read`, which blocks, for a file that has the bytes that were written.

    If it does not have them, or cannot be read, notes a problem and returns None; also if it is encrypted and there is
    no key, which is noted, and is no problem.
    """
    try:
        async with opening(store, file) as path:
            return await to_thread.run_sync(read, path)
    except DamagedPartError as error:
        # No row of a table is in doubt, only what has become of some.
        kind = "changes" if isinstance(file, ChangesFile) else error.kind
        findings.problems.append(Problem(file.path, kind, error.what))
    except UnreadableFileError as error:
        # If two files are read at once, the other one may have failed.
        failed = str(error.path).removeprefix(f"{store.location}/")
        findings.problems.append(Problem(failed, "unreadable", f"cannot be read here and now: {error.what}"))
    except UnreadablePartError as error:
        findings.closed.add(str(error.path).removeprefix(f"{store.location}/"))
    return None
