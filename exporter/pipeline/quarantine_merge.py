"""Merges the quarantine: decides which lines are added, which leave, and which files replace which."""

from collections import Counter
from collections.abc import Collection, Iterable

import msgspec

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.encode.exact import NO_ID
from exporter.log.quarantine import id_of, own_created_at
from exporter.log.state import State
from exporter.model import QuarantineFile
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import read_lines, write_lines
from exporter.pipeline.spool_sink import Spool, digest


class QuarantineChange(msgspec.Struct):
    """Holds what a commit changes in the quarantine. `fresh` counts rows that are new or have changed."""

    removes: list[str] = msgspec.field(default_factory=list)
    adds: list[QuarantineFile] = msgspec.field(default_factory=list)
    fresh: int = 0


class Quarantine(msgspec.Struct):
    """Holds the lines of the quarantine, by file."""

    state: State
    stage: PartStage
    lines: dict[str, list[bytes]] = msgspec.field(default_factory=dict)

    @classmethod
    async def load(cls, state: State, stage: PartStage) -> "Quarantine":
        """Reads all quarantine files of `state`. Raises `StoreError`."""
        lines = {path: await read_lines(stage.store, file) for path, file in sorted(state.quarantine.items())}
        return cls(state, stage, lines)

    def ids(self) -> set[str]:
        return {id_of(line) for lines in self.lines.values() for line in lines}

    async def merge(self, spool: Spool, leaving: Collection[str], whole: Coverage) -> QuarantineChange:
        """Replaces older misfits by new ones with the same ids, and drops `leaving`: rows that fit now, or are gone.

        `whole` is where everything was read again. A row without an id that no longer exists there leaves as well.
        """
        result = QuarantineChange()
        leaving = {*leaving}
        times = Counter(id_of(line) for lines in self.lines.values() for line in lines)
        known = {id_of(line): digest(line) for lines in self.lines.values() for line in lines}
        read_later = set[str]()
        for file, lines in reversed(spool.misfits):
            fresh = {name for name, line in lines.items() if known.get(name) != line or times[name] > 1} - read_later
            # A row that is known as it is stays in its file: whoever has accepted that file knows the row.
            others = lines.keys() - fresh
            if not fresh:
                await self.stage.store.delete(file.path)
            elif others:
                result.adds.append(await self._without(file, others))
            else:
                result.adds.append(file)
            result.fresh += len(fresh)
            leaving |= fresh
            read_later |= lines.keys()
        for path, lines_before in self.lines.items():
            window = self.state.quarantine[path].window
            rest = [
                line
                for line in lines_before
                if id_of(line) not in leaving and not _is_gone(line, window, whole, read_later)
            ]
            if len(rest) < len(lines_before):
                result.removes.append(path)
                if rest:
                    name = self.stage.next_name()
                    result.adds.append(await write_lines(self.stage.store, name, rest, window, rest_of=path))
        return result

    async def _without(self, file: QuarantineFile, ids: Collection[str]) -> QuarantineFile:
        """Replaces a file that was put aside by one without the lines of `ids`."""
        rest = [line for line in await read_lines(self.stage.store, file) if id_of(line) not in ids]
        await self.stage.store.delete(file.path)
        return await write_lines(self.stage.store, self.stage.next_name(), rest, file.window)


def nameless_times(lines: Iterable[bytes]) -> list[Instant]:
    """Returns when the rows without an id in a quarantine file were created, as far as they say so themselves."""
    nameless = (line for line in lines if id_of(line).startswith(NO_ID))
    return [created_at for line in nameless if (created_at := own_created_at(line)) is not None]


def _is_gone(line: bytes, window: Interval | None, whole: Coverage, read_again: Collection[str]) -> bool:
    """Returns whether a row without an id no longer exists. `whole` is where everything was read again.

    A row without a time of its own has the position of another row: it is gone if all of its file's `window` was read.
    """
    identity = id_of(line)
    if not identity.startswith(NO_ID) or identity in read_again:
        return False
    created_at = own_created_at(line)
    if created_at is None:
        return window is not None and not Coverage([window]) - whole
    return created_at in whole
