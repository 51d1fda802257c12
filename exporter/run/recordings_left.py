"""Gathers the recordings that are left, some at a time, from what is stored: before anything is asked."""

from collections.abc import AsyncGenerator, Sequence

import msgspec

from exporter.clock import wall_clock
from exporter.contract import BEGINNING, SECOND, Instant
from exporter.coverage import Coverage
from exporter.encode.recordings import url_hash
from exporter.encode.tables import Tables
from exporter.fetch.media.link import link_of
from exporter.layout import RECORDINGS, partition_text
from exporter.log.expiry import row_floor
from exporter.log.publish import publish
from exporter.log.recordings import is_blind, partitions_to_look_at
from exporter.log.state import State
from exporter.model import Change, DataFile
from exporter.partitions import Partition
from exporter.pipeline.recording_left import Mark, left_in
from exporter.run.claim import Claim
from exporter.schedule.rereads import density_of, windows_around
from exporter.settings import Request
from exporter.store.base import Store

#: This many conversations are looked for by one reading of the list: enough that its own requests count for little.
_AT_ONCE = 5_000


class Batch(msgspec.Struct):
    """Holds conversations, by id with their `created_at`, that are looked for together.

    `listed` are known to have a recording that has no final row; `late` are over, and may have one by now. `marks` are
    those of the recordings with which the listed ones are stored, and of those that are `changed`, another recording is
    kept. `looked` are the partitions of which nothing else is left, each with the number of the commit after which that
    was so.
    """

    listed: dict[str, Instant] = msgspec.field(default_factory=dict)
    late: dict[str, Instant] = msgspec.field(default_factory=dict)
    marks: dict[str, Mark] = msgspec.field(default_factory=dict)
    changed: set[str] = msgspec.field(default_factory=set)
    looked: list[tuple[Partition, int]] = msgspec.field(default_factory=list)
    densities: list[tuple[Instant, float]] = msgspec.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.listed) + len(self.late)

    def new_looks(self, state: State) -> dict[str, int]:
        """Returns the looks that `state` does not have, by partition."""
        looked = {partition_text(partition): number for partition, number in self.looked}
        changed = state.changed_at
        return {name: number for name, number in looked.items() if state.looked_at.get(name, -1) < changed.get(name, 0)}

    @property
    def windows(self) -> Coverage:
        """Returns windows around all that are looked for."""
        return windows_around(self.densities)

    @property
    def oldest(self) -> Instant:
        """Returns when the oldest of them was created."""
        return min((*self.listed.values(), *self.late.values()))


def identify(details: str) -> Mark:
    """Returns what tells the recording of stored details from another: the hash of its place, and its duration."""
    try:
        link = link_of(msgspec.json.decode(details))
    except (msgspec.DecodeError, RecursionError):
        link = None
    return (None, None) if link is None else (url_hash(link.path), link.duration)


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Says what is looked for: between `bounds`, with rows of these statuses `again`, and `late` ones for so long."""

    bounds: Coverage
    again: frozenset[str]
    wait_seconds: float
    oldest_first: bool = False

    def partitions(self, state: State) -> list[Partition]:
        """Returns the partitions that may have some, in the order in which they are read."""
        now = wall_clock()
        late = now - round(self.wait_seconds * SECOND)
        found = partitions_to_look_at(state, now=now, wait_seconds=self.wait_seconds, again=self.again)
        files = _by_partition(state)
        names = {partition_text(partition) for partition in found}
        for name, (first, *_) in files.items():
            unseen = state.looked_at.get(name, -1) < state.changed_at.get(name, 0)
            if (
                name not in names
                and (unseen or files[name][-1].created_at_max >= late)
                and is_blind(state, files[name])
            ):
                found.append(first.partition)
        floor = row_floor(state.privacy.floors, RECORDINGS)
        inside = [partition for partition in found if self._meets(files.get(partition_text(partition), ()), floor)]
        inside.sort(key=lambda each: files[partition_text(each)][0].created_at_min, reverse=not self.oldest_first)
        return inside

    def _meets(self, files: Sequence[DataFile], floor: Instant) -> bool:
        return any(
            file.created_at_max >= max(each.start, floor) and file.created_at_min < each.end
            for file in files
            for each in self.bounds
        )

    async def batches(self, store: Store, state: State) -> AsyncGenerator[Batch, None]:
        """Yields what is left, a batch at a time; the last one may hold no conversation. Raises `StoreError`."""
        batch, files = Batch(), _by_partition(state)
        floor = row_floor(state.privacy.floors, RECORDINGS)
        for partition in self.partitions(state):
            own = files[partition_text(partition)]
            density, now = sum(map(density_of, own)), wall_clock()
            # Without the field, each conversation may have one, however old it is.
            wait_seconds = (now - BEGINNING) / SECOND if is_blind(state, own) else self.wait_seconds
            looking = left_in(
                store, state, partition, now=now, wait_seconds=wait_seconds, identify=identify, again=self.again
            )
            is_whole = all(file.created_at_min in self.bounds and file.created_at_max in self.bounds for file in own)
            async for left in looking:
                for found, into in ((left.listed, batch.listed), (left.late, batch.late)):
                    kept = {name: at for name, at in found.items() if at in self.bounds and at >= floor}
                    into |= kept
                    batch.marks |= {name: mark for name, mark in left.marks.items() if name in kept}
                    batch.changed |= left.changed & kept.keys()
                    batch.densities += [(at, density) for at in kept.values()]
                if len(batch) >= _AT_ONCE:
                    yield batch
                    batch = Batch()
            if is_whole:
                batch.looked.append((partition, state.number))
        if batch or batch.looked:
            yield batch


async def look_only(claim: Claim, batch: Batch | None) -> None:
    """Notes in the log and the manifest that nothing is left in the partitions of `batch`, if that is new to the log.

    Raises `StoreError`.
    """
    looked = {} if batch is None else batch.new_looks(claim.log.state)
    if looked:
        await claim.log.append(committed_at=wall_clock(), kind="recordings", change=Change(looked_at=looked))
        state = claim.log.state
        await publish(claim.store, state, schemas=Tables.of(state.request or Request()).schemas)


def _by_partition(state: State) -> dict[str, list[DataFile]]:
    files: dict[str, list[DataFile]] = {}
    for file in state.conversations:
        files.setdefault(partition_text(file.partition), []).append(file)
    for each in files.values():
        each.sort(key=lambda file: file.created_at_min)
    return files
