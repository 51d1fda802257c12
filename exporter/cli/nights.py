"""Lets nights go by in `exporter demo`: what changes at the server, what a sync does about it, what an audit finds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from exporter.contract import DAY, MINUTE, SECOND, Instant, format_instant
from exporter.progress import Observer, Snapshot
from exporter.settings import RecordingSettings, Selection
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.audit_result import AuditResult
    from exporter.jobs.summary import Summary
    from exporter.jobs.sync_result import SyncResult
    from exporter.log.state import State
    from exporter.run.context import RunContext
    from exporter.sandbox import Row, Sandbox
    from exporter.store.location import Location

#: The jobs of a night begin this long after midnight, because the demo's range ends at midnight.
_AFTER_MIDNIGHT: Final = 2 * MINUTE
_LEAST_EVENTS: Final = 20


@dataclass(frozen=True, slots=True)
class Night:
    """Holds what had happened to conversations at the server within a day, and what the jobs of that night did.

    `audited` is the audit that repairs, and `checked` the one after it.
    """

    at: Instant
    created: int
    changed: int
    deleted: int
    synced: "SyncResult"
    audited: "AuditResult"
    checked: "AuditResult"

    @property
    def is_same(self) -> bool:
        """Returns whether the export has in the end what the server has."""
        return self.checked.same


class Clock:
    """Tells the server's time: two minutes after the midnight `start`, and a day later for each night that goes by."""

    def __init__(self, start: Instant) -> None:
        self._start = start
        self.nights = 0

    def __call__(self) -> Instant:
        return self._start + self.nights * DAY + _AFTER_MIDNIGHT

    def nights_before(self, end: Instant) -> int:
        """Returns how many nights have gone by for an export whose range ends at `end`."""
        return max(0, (end - self._start) // DAY)


class Untroubled:
    """Passes everything on to another observer, warnings as notes: the two clocks differ on purpose."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def progress(self, snapshot: Snapshot) -> None:
        self._observer.progress(snapshot)

    def note(self, event: str, /, **details: object) -> None:
        self._observer.note(event, **details)

    warn = note

    def close(self) -> None:
        self._observer.close()


async def live_through(
    sandbox: "Sandbox", clock: Clock, destination: "Location", context: "RunContext", *, nights: int, past: int
) -> list[Night]:
    """Lets `nights` go by, after those that are `past`, and returns them. Raises the errors of a sync and an audit."""
    from exporter.jobs.audit import audit
    from exporter.jobs.sync import sync
    from exporter.sandbox.life import Life

    rows = sandbox.rows
    days = max(1, (clock() - min(row.created_at for row in rows)) // DAY)
    # Half of the events create a conversation: each day brings about as many as the days before.
    events_a_day = max(_LEAST_EVENTS, 2 * len(rows) // days)
    life = Life(sandbox, events_per_second=events_a_day * SECOND / DAY, start=clock())
    clock.nights = past
    life.advance(clock())
    lived = []
    for _ in range(nights):
        before = _by_id(sandbox)
        clock.nights += 1
        life.advance(clock())
        after = _by_id(sandbox)
        synced = await sync(destination, Selection(), context)
        audited = await audit(destination, Selection(), context, now=clock(), repair=True, delete=True)
        checked = await audit(destination, Selection(), context, now=clock())
        lived.append(
            Night(
                clock(),
                len(after.keys() - before.keys()),
                sum(before[id_].updated_at != after[id_].updated_at for id_ in before.keys() & after.keys()),
                len(before.keys() - after.keys()),
                synced,
                audited,
                checked,
            )
        )
    return lived


async def summed_up(destination: "Location", before: "State", exported: "Summary", nights: list[Night]) -> "Summary":
    """Returns a summary of the export and the nights after it: what is there in the end, and what all runs have cost.

    `before` is the state before the export.
    """
    import msgspec

    from exporter.jobs.recordings_result import summarize_recordings
    from exporter.jobs.summary import summarize
    from exporter.log.commits import load_state
    from exporter.model import Counters
    from exporter.run.recording_outcomes import Tally
    from exporter.store.open import open_store

    async with open_store(destination) as store:
        after = await load_state(store)
    summaries = [exported, *(night.synced.summary for night in nights)]
    audits = [audit for night in nights for audit in (night.audited, night.checked)]
    spent = Counters(
        requests=sum(each.requests for each in summaries) + sum(each.requests for each in audits),
        retries=sum(each.retries for each in summaries),
        throttled=sum(each.throttled for each in summaries),
        seconds=sum(each.seconds for each in summaries) + sum(each.seconds for each in audits),
    )
    summary = summarize(destination, before, after, spent)
    if not after.keeps_recordings:
        return summary
    kept = summarize_recordings(after, Tally(), RecordingSettings(), Counters())
    return msgspec.structs.replace(summary, recordings=kept)


def _by_id(sandbox: "Sandbox") -> Mapping[object, "Row"]:
    return {row.facts()["id"]: row for row in sandbox.rows}


def describe_nights(nights: list[Night]) -> Iterator[str]:
    """Says what had changed, what the sync did about it, and what the audit found."""
    for number, night in enumerate(nights, start=1):
        synced, audited, found = night.synced, night.audited, night.audited.findings
        differing = sum(found.total(kind) for kind in ("missing", "changed", "moved"))
        removed = 0 if audited.repaired is None else audited.repaired.removed
        yield f"night {number}, {format_instant(night.at)[:10]}"
        yield f"  the server  {night.created:,} created, {night.changed:,} changed, {night.deleted:,} deleted"
        yield f"  sync        {synced.inserted:,} inserted, {synced.updated:,} updated"
        yield (
            f"  audit       {found.total('deleted'):,} deleted at the server, {differing:,} otherwise different; "
            f"--repair --delete removed {removed:,}"
        )
        kept = count_of(night.checked.findings.total("kept"), "conversation")
        yield f"  audit       {'the same' if night.is_same else 'different'}: {kept} in the export"


def figures_of(nights: list[Night]) -> list[dict[str, Any]]:
    """Returns nights for programs."""
    return [
        {
            "at": format_instant(night.at),
            "server": {"created": night.created, "changed": night.changed, "deleted": night.deleted},
            "sync": {"inserted": night.synced.inserted, "updated": night.synced.updated},
            "audit": {
                "deleted": night.audited.findings.total("deleted"),
                "removed": 0 if night.audited.repaired is None else night.audited.repaired.removed,
                "same": night.is_same,
            },
        }
        for night in nights
    ]


def by_the_server(context: "RunContext") -> "RunContext":
    """Returns a context for runs that go by the server's clock to the second, whatever this machine's says."""
    import msgspec

    settings = msgspec.structs.replace(context.settings, trust_clock="server", lag_seconds=0)
    return replace(context, settings=settings, observer=Untroubled(context.observer))
