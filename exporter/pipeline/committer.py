"""Puts the changes of all windows into the log; changes that wait at the same time go into one commit."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from math import inf
from operator import add, or_
from typing import Final

import anyio
import pyarrow as pa

from exporter.clock import wall_clock
from exporter.contract import Instant
from exporter.layout import CONVERSATIONS, RECORDINGS, SUCCESS, partition_text
from exporter.log.commits import CommitLog, check_not_overtaken
from exporter.log.journal import has_ended
from exporter.log.publish import publish, sweep
from exporter.log.state import CommitKind, State
from exporter.model import Change, Counters
from exporter.partitions import Partition
from exporter.pipeline.free_space import RESERVED_BYTES, check_free_space
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.progress import Observer
from exporter.store.base import Store

#: While a run commits, this much time passes between two manifests: at least so many seconds, and at least so many
#: times what the last one took, because its length grows with the export.
_MANIFEST_SECONDS: Final = 5.0
_MANIFEST_MULTIPLE: Final = 50


def pause_after_manifest(took_seconds: float) -> float:
    """Returns for how many seconds a manifest that took this many to write stays as it is while the run commits."""
    return max(_MANIFEST_SECONDS, _MANIFEST_MULTIPLE * took_seconds)


class Committer:
    """Appends changes to the log. `files` counts the files that this run has added, less those that it has removed.

    Each commit is charged with what the run has cost since the previous one. `reserved_bytes` of the disk stay free.
    The fields that are `hydrated` go into the next commit. While the run `is_fetching` recordings, a sweep leaves what
    it has of them.
    """

    def __init__(
        self,
        store: Store,
        log: CommitLog,
        schemas: Mapping[str, pa.Schema],
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        *,
        reserved_bytes: int = RESERVED_BYTES,
    ) -> None:
        self.files = 0
        self._data_start: Instant | None = None
        self.hydrated: Collection[str] = ()
        self.is_fetching = False
        self._store = store
        self._log = log
        self._schemas = schemas
        self._observer = observer
        self._clock = clock
        self._reserved_bytes = reserved_bytes
        self._charged = Counters()
        self._removed: list[str] = []
        self._waiting: list[tuple[CommitKind, Change]] = []
        #: The partitions that rows of recordings have left, by name, unless a run of recordings itself replaced them.
        self._left_by_recordings: dict[str, Partition] = {}
        self._has_swept = False
        self._turn = anyio.Lock()
        #: The state that the manifest tells, if this run has written it.
        self._published: State | None = None
        #: The state that the manifest is likely to tell.
        self._told = log.found
        self._manifest_due = clock() + _MANIFEST_SECONDS

    def note_beginning(self, oldest: Instant) -> None:
        """Notes where the data of the range begins: `data_start` of the next commit."""
        self._data_start = oldest

    async def commit(self, change: Change, spent: Counters | None = None, *, kind: CommitKind = "export") -> None:
        """Returns when `change` is in the log. `spent` is the total cost of the run until now, if that has grown.

        Raises `StoreError`.
        """
        self._waiting.append((kind, change))
        async with self._turn:
            if not any(waiting is change for _, waiting in self._waiting):
                return  # another caller has committed it
            together = [one for one in self._waiting if one[0] == kind]
            self._waiting = [one for one in self._waiting if one[0] != kind]
            try:
                await self._append(kind, merged([one for _, one in together]), spent or self._charged)
            except BaseException:
                # Callers that wait with the other changes must fail or succeed themselves.
                self._waiting += [one for one in together if one[1] is not change]
                raise
            if self._clock() >= self._manifest_due:
                await self.write_manifest()

    async def write_manifest(self) -> None:
        """Brings the manifest up to date with the log, and deletes what commits have removed.

        What this run has published is not made again. Raises as `log.publish.publish`.
        """
        state = self._log.state
        if state is self._published and not self._removed:
            await check_not_overtaken(self._store, state)
            return
        began = self._clock()
        await publish(self._store, state, schemas=self._schemas, removed=self._removed, told=self._told)
        self._has_published(state, began)

    async def sweep(self, *, may_wait: bool = False, there: Collection[str] | None = None) -> None:
        """Writes the manifest, deletes files that no commit names, and moves aside those that repairs have dropped.

        Media that no row names is also deleted: where commits have taken rows of recordings away and, the first time,
        everywhere if the run before was killed. Where nothing is to be deleted, the manifest `may_wait` for
        `write_manifest`. `there` is as in `log.publish.sweep`.

        The caller must hold the destination's lock. Raises as `write_manifest`.
        """
        state = self._log.state
        fetching = self._log.run if self.is_fetching else None
        began = self._clock()
        if await sweep(
            self._store,
            state,
            schemas=self._schemas,
            removed=self._removed,
            fetching=fetching,
            told=self._told,
            may_wait=may_wait,
            there=there,
        ):
            self._has_published(state, began)
        if state.has_recordings:
            partitions = None if await self._follows_a_killed_run() else list(self._left_by_recordings.values())
            if partitions is None or partitions:
                garbage = await find_media_garbage(self._store, state, partitions)
                await check_not_overtaken(self._store, state)
                await self._store.delete(*garbage)
        self._left_by_recordings.clear()
        self._has_swept = True

    async def _follows_a_killed_run(self) -> bool:
        """Returns whether the run before this one may have left media that no row names; once it was swept, no more."""
        others = [run for run in self._log.state.runs if run != self._log.run]
        return bool(others) and not self._has_swept and not await has_ended(self._store, others[-1])

    async def unseal(self) -> None:
        """Removes `_SUCCESS` until `write_manifest` is called, because rows are about to be stored twice.

        Raises as `write_manifest`.
        """
        self._manifest_due = inf
        self._published = None
        await check_not_overtaken(self._store, self._log.state)
        await self._store.delete(SUCCESS)

    def _has_published(self, state: State, began: float) -> None:
        self._published = self._told = state
        self._removed.clear()
        now = self._clock()
        self._manifest_due = now + pause_after_manifest(now - began)

    async def _append(self, kind: CommitKind, change: Change, spent: Counters) -> None:
        await check_free_space(self._store, self._reserved_bytes)
        before = self._log.state
        counters, data_start = spent - self._charged, self._data_start
        # A commit that fails may have taken `_SUCCESS` away.
        self._published = None
        after = await self._log.append(
            committed_at=wall_clock(),
            kind=kind,
            change=change,
            counters=counters,
            data_start=data_start,
            hydrated=tuple(sorted({*self.hydrated} - {*before.hydrated_fields})),
        )
        self._charged = spent
        # It may have been found in the meantime, and then goes into the next one.
        self._data_start = None if self._data_start == data_start else self._data_start
        if kind not in ("recordings", "compact"):
            left = [before.files[path].partition for path in change.removes if path.startswith(f"{RECORDINGS}/")]
            self._left_by_recordings |= {partition_text(partition): partition for partition in left}
        rows = sum(file.rows for file in change.adds if file.table == CONVERSATIONS)
        self.files += len(change.adds) - len(change.removes)
        # A file that stays live under its name, or is kept for readers of older manifests, is not deleted.
        gone = {*before.kept, *change.removes} - {*after.kept, *after.live}
        self._removed += sorted(gone)
        self._observer.note("committed", number=self._log.state.number, files=len(change.adds), rows=rows)


def merged(changes: Sequence[Change]) -> Change:
    """Returns one change that does what all of them do, at least one and of one kind."""
    return Change(
        covers=reduce(add, (change.covers for change in changes)),
        refreshes=reduce(add, (change.refreshes for change in changes)),
        proves=reduce(add, (change.proves for change in changes)),
        adds=reduce(add, (change.adds for change in changes)),
        removes=reduce(add, (change.removes for change in changes)),
        quarantines=reduce(add, (change.quarantines for change in changes)),
        changed=reduce(add, (change.changed for change in changes)),
        unproven=reduce(add, (change.unproven for change in changes)),
        read_since=min((change.read_since for change in changes if change.read_since is not None), default=None),
        organization=next((change.organization for change in changes if change.organization), None),
        hidden_status=changes[0].hidden_status,
        shows_hidden=any(change.shows_hidden for change in changes),
        arrives=any(change.arrives for change in changes),
        settles=all(change.settles for change in changes),
        looked_at=reduce(or_, (change.looked_at for change in changes)),
    )
