"""Keeps each conversation in one place: a row that readings at different times left in several is read again.

A row is read in the window of its `created_at`, which may change (source.md, 15): a row that moves from one window to
another after the first has been read and before the second is, is stored twice. All ids that a run has read are
compared with the stored ones. If one is in several places, each of them is read again, and the row stays where the
source shows it.
"""

from collections.abc import Collection

import msgspec
from anyio import to_thread

from exporter.contract import BEGINNING, END_OF_TIME, Instant
from exporter.coverage import Coverage, Interval
from exporter.parts.ids import ids_in
from exporter.pipeline.lookup import Copy, Repeated, find_repeated
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.pipeline.upsert import merge_spool
from exporter.run.session import Session
from exporter.schedule.homes import Homes
from exporter.schedule.rereads import breaks, density_of, seams, windows_around


class Doubts(msgspec.Struct, frozen=True):
    """Names what must be read again: the places of `repeated` rows, and `windows` around these and the seams."""

    repeated: Repeated
    windows: Coverage

    @classmethod
    async def find(cls, session: Session, homes: Homes) -> "Doubts":
        """Compares what was read with what is stored. Raises `StoreError`."""
        before, state, stage = session.before, session.log.state, session.stage
        repeated = Repeated.of(await find_repeated(stage.store, state, stage.working), before.coverage)
        times = [copy.created_at for copies in repeated.copies.values() for copy in copies]
        files = [homes.of(instant).file for instant in times]
        density = [1.0 if file is None else density_of(file) for file in files]
        now, earlier = state.coverage - before.coverage, before.unsettled
        arrived = state.conversations.each_within(
            now | earlier, "window.start", "window.end", "created_at_min", "created_at_max", "path"
        )
        windows = (
            windows_around(zip(times, density, strict=True))
            | seams(before.coverage, now, state.conversations.times_within)
            | seams(before.coverage - earlier, earlier, before.conversations.times_within)
            | breaks((start, end, first, last, _writer_of(path)) for start, end, first, last, path in arrived)
        )
        # Windows that are not covered yet are read by the run that covers them.
        return cls(repeated, windows & state.coverage)

    async def strays(self, spool: Spool, homes: Homes) -> dict[Interval, Collection[str]]:
        """Returns the ids that leave each home after `spool` has been read, and adds these homes to `spool`.

        An id that the source no longer shows stays where its row was updated last.
        """
        there = {interval: await _ids(spool, interval) for interval in spool.parts}
        misfits = set[str]().union(*spool.misfit_ids.values())
        shown = misfits.union(*there.values())
        strays: dict[Interval, Collection[str]] = {}
        for identity, copies in self.repeated.copies.items():
            places = {homes.of(copy.created_at).interval: homes.of(copy.created_at) for copy in copies}
            if identity in shown:
                stays = {interval for interval, ids in there.items() if identity in ids}
            else:
                latest = max(copies, key=lambda copy: _rank(copy, spool.read_since or END_OF_TIME))
                stays = {homes.of(latest.created_at).interval}
            for interval in places.keys() - stays if identity not in misfits else ():
                spool.homes[interval] = places[interval]
                strays[interval] = {*strays.get(interval, ()), identity}
            for interval in stays & places.keys():
                spool.homes[interval] = places[interval]
        return strays


async def settle(session: Session) -> None:
    """Reads again what is in doubt, and commits that no row is in two places.

    Raises the errors of `Session.read`, and `StoreError`.
    """
    state, stage, homes = session.log.state, session.stage, session.homes()
    doubts, spool = await Doubts.find(session, homes), Spool(homes, session.guard)
    await session.read(doubts.windows, SpoolSink(stage, spool, reading=1))
    change, _ = await merge_spool(
        spool,
        state,
        stage,
        session.committer,
        gone=await doubts.strays(spool, homes),
        whole=doubts.windows,
        repeated=doubts.repeated,
        hydrator=session.hydrator,
    )
    if state.unsettled or change.adds or change.removes or change.quarantines:
        await session.committer.commit(msgspec.structs.replace(change, settles=True), session.spent)
    if doubts.windows:
        await session.committer.sweep(may_wait=True)  # what was put aside


def _writer_of(path: str) -> str:
    """Returns the name of the run or the task that wrote a part: all of the part's name but its number."""
    return path.rpartition("/")[2].rpartition("-")[0]


def _rank(copy: Copy, now: Instant) -> tuple[bool, Instant, Instant]:
    """Returns a rank: a row of the table is above one in quarantine, and a time of update after `now` says nothing."""
    updated_at = BEGINNING if copy.updated_at is None or copy.updated_at > now else copy.updated_at
    return copy.is_row, updated_at, copy.created_at


async def _ids(spool: Spool, interval: Interval) -> set[str]:
    return await to_thread.run_sync(ids_in, [part.path for part in spool.parts[interval]])
