"""Compares a list that was put aside by home with the parts and quarantine files of the export."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from anyio import to_thread

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.encode.exact import NO_ID
from exporter.log.quarantine import quarantined_versions
from exporter.log.state import State
from exporter.model import QuarantineFile
from exporter.partitions import local_day
from exporter.parts.integrity import opened
from exporter.parts.versions import read_versions, versions_in
from exporter.pipeline.quarantine_files import read_lines
from exporter.pipeline.quarantine_merge import nameless_times
from exporter.pipeline.spool_sink import Spool
from exporter.schedule.differences import KINDS, Difference, Kind, LastRead, Versions, find_differences, join_some
from exporter.schedule.homes import Home
from exporter.schedule.rereads import density_of, windows_around
from exporter.store.base import Store
from exporter.zones import UTC_NAME

#: This many ids of each kind are remembered: enough to look into in any case.
MOST_IDS: Final = 500
#: At most this many missing rows are compared with this many deleted ones.
_MOST_PAIRED: Final = 100_000
#: This many times of rows to read again are kept before they become windows.
_MOST_TIMES: Final = 50_000

_ByHome: TypeAlias = dict[Interval, list[tuple[str, Instant, Instant | None]]]


@dataclass(slots=True)
class Differences:
    """Says how a list differs from the export.

    `days` counts by the day of `created_at` in `zone`, as days since 1970, the rows that were `listed` and `kept`, and
    those of each kind. `ids` are at most `MOST_IDS` of each kind. `windows` are the positions of windows that hold a
    difference other than `later`. `reread` covers the rows that are missing, have changed or moved, or have no id.
    `deleted` are the ids that the list does not have, by home, and `moved` those that it has elsewhere. `witness` is an
    id that both have. `nameless` counts the listed rows without an id; they cannot be told apart, and are not compared.
    """

    zone: str = UTC_NAME
    days: dict[int, Counter[str]] = field(default_factory=dict)
    ids: dict[Kind, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    windows: set[int] = field(default_factory=set)
    reread: list[Interval] = field(default_factory=list)
    deleted: dict[Interval, set[str]] = field(default_factory=dict)
    moved: dict[Interval, set[str]] = field(default_factory=dict)
    homes: dict[Interval, Home] = field(default_factory=dict)
    witness: str | None = None
    nameless: int = 0

    def total(self, name: str) -> int:
        return sum(day[name] for day in self.days.values())

    def count(self, name: str, instants: Iterable[Instant]) -> None:
        for day, number in Counter(local_day(instant, self.zone) for instant in instants).items():
            self.days.setdefault(day, Counter())[name] += number


class Comparison:
    """Compares `spool`, a list of what was created in `windows` (disjoint, ascending), with `state` in `store`.

    `spooled_in` is the store of the spool, and `lag` is as in `LastRead`. With `remembers`, what a repair needs to know
    is gathered.
    """

    def __init__(
        self,
        store: Store,
        state: State,
        spool: Spool,
        spooled_in: Store,
        windows: Sequence[Interval],
        *,
        lag: int,
        remembers: bool,
    ) -> None:
        self._store = store
        self._state = state
        self._spool = spool
        self._spooled_in = spooled_in
        self._audited = Coverage(windows)
        self._starts = [window.start for window in windows]
        self._last_read = LastRead(state.reads, lag)
        self._remembers = remembers
        self._findings = Differences(UTC_NAME if state.request is None else state.request.timezone)
        self._differing = Counter[int]()
        self._missing: dict[str, Difference] = {}
        self._deleted: list[tuple[Interval, Difference]] = []

    async def run(self) -> Differences:
        """Compares all homes. Raises `StoreError`."""
        findings = self._findings
        for home in self._spool.every:
            if Coverage([home.interval]) & self._audited:
                findings.homes[home.interval] = home
        findings.homes |= {interval: home for interval, home in self._spool.homes.items() if home.file is None}
        kept, _ = await self._misfits(self._store, self._state.quarantine.values())
        listed, findings.nameless = await self._misfits(self._spooled_in, [file for file, _ in self._spool.misfits])
        for interval in sorted(findings.homes):
            file = findings.homes[interval].file
            async with AsyncExitStack() as stack:
                parts = [] if file is None else [await stack.enter_async_context(opened(self._store, file))]
                misfits = listed.get(interval, ()), kept.get(interval, ())
                await to_thread.run_sync(self._compare, interval, parts, *misfits)
        if self._deleted:
            await to_thread.run_sync(self._find_moved, listed)
        findings.windows = {*+self._differing}
        return findings

    async def _misfits(self, store: Store, files: Iterable[QuarantineFile]) -> tuple[_ByHome, int]:
        """Returns the rows in quarantine files, by home, and how many more have no id."""
        found: _ByHome = {}
        nameless = 0
        for file in sorted(files, key=lambda file: file.path):
            lines = await read_lines(store, file)
            if self._remembers and store is self._store:
                times = (at for at in nameless_times(lines) if at in self._audited)
                self._findings.reread += [Interval(at, at + 1) for at in times]
            for row in quarantined_versions(lines):
                if row[1] not in self._audited:
                    continue
                if row[0].startswith(NO_ID):
                    nameless += 1
                    continue
                home = self._spool.every.of(row[1])
                self._findings.homes[home.interval] = home
                found.setdefault(home.interval, []).append(row)
        return found, nameless

    def _compare(
        self,
        interval: Interval,
        parts: Sequence[Path],
        listed_misfits: Collection[tuple[str, Instant, Instant | None]],
        kept_misfits: Collection[tuple[str, Instant, Instant | None]],
    ) -> None:
        findings, home = self._findings, self._findings.homes[interval]
        spooled = sorted(self._spool.parts.get(interval, ()), key=lambda part: -part.newest)
        listed = join_some(read_versions([part.path for part in spooled], self._audited), list(listed_misfits))
        kept = join_some(read_versions(parts, self._audited), list(kept_misfits))
        spooled_rows = sum(part.rows for part in spooled)
        density = density_of(home.file) if home.file else spooled_rows / (interval.end - interval.start)
        again: list[tuple[Instant, float]] = []
        for found in find_differences(self._counted("listed", listed), self._counted("kept", kept), self._last_read):
            self._take(found)
            if found.kind == "deleted" and len(self._deleted) < _MOST_PAIRED:
                self._deleted.append((interval, found))
            elif found.kind in ("missing", "later") and len(self._missing) < _MOST_PAIRED:
                self._missing[found.id] = found
            if not self._remembers:
                continue
            if found.kind == "deleted":
                findings.deleted.setdefault(interval, set()).add(found.id)
                continue
            again.append((found.created_at, density))
            if len(again) >= _MOST_TIMES:
                findings.reread += windows_around(again)
                again.clear()
        findings.reread += windows_around(again)
        if self._remembers and findings.witness is None:
            gone = findings.deleted.get(interval, ())
            ids = (identity for batch in read_versions(parts, self._audited) for identity in batch[0])
            findings.witness = next((identity for identity in ids if identity not in gone), None)

    def _find_moved(self, misfits: _ByHome) -> None:
        """Makes one difference of two if a row is listed elsewhere than where it is stored."""
        findings, wanted = self._findings, {found.id for _, found in self._deleted}
        rows = chain(versions_in(self._spool.paths), chain.from_iterable(misfits.values()))
        listed = {identity: created_at for identity, created_at, _ in rows if identity in wanted}
        for interval, deleted in self._deleted:
            if (created_at := listed.get(deleted.id)) is None:
                continue
            missing = self._missing.pop(deleted.id, None)
            kind: Kind = "later" if missing and missing.kind == "later" else "moved"
            for found in (deleted, missing) if missing else (deleted,):
                self._take(found, -1)
            self._take(Difference(kind, deleted.id, created_at))
            findings.witness = findings.witness or deleted.id
            if self._remembers:
                findings.deleted[interval].discard(deleted.id)
                findings.moved.setdefault(interval, set()).add(deleted.id)
                findings.reread += [Interval(instant, instant + 1) for instant in (created_at, deleted.created_at)]

    def _take(self, found: Difference, number: int = 1) -> None:
        """Counts a difference; `number` -1 takes it back."""
        findings, ids = self._findings, self._findings.ids[found.kind]
        day = local_day(found.created_at, findings.zone)
        findings.days.setdefault(day, Counter())[found.kind] += number
        if number < 0 and found.id in ids:
            ids.remove(found.id)
        elif number > 0 and len(ids) < MOST_IDS:
            ids.append(found.id)
        if found.kind != "later":
            self._differing[bisect_right(self._starts, found.created_at) - 1] += number

    def _counted(self, name: str, versions: Iterable[Versions]) -> Iterator[Versions]:
        for batch in versions:
            self._findings.count(name, batch[1])
            yield batch
