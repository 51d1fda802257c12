"""The repair of an audit: whole rows where something differs, and deletions that the API confirms."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from anyio import to_thread

from exporter.errors import ContradictionError, DestinationError
from exporter.jobs.asking import has_sensitive_fields
from exporter.jobs.comparing import Plan
from exporter.jobs.holding import Held
from exporter.jobs.sealing import is_in_order, put_in_order, seal
from exporter.jobs.session import Session, ask_first, connected, mention_withheld
from exporter.model import Counters, Coverage, Interval
from exporter.pipeline.auditing import Findings
from exporter.pipeline.reading import Reader
from exporter.pipeline.spooling import Spool, SpoolFactory
from exporter.pipeline.tasks import for_each
from exporter.pipeline.updating import Outcome, merge_spool
from exporter.plan.clock import Now
from exporter.progress import Observer
from exporter.spec import Credentials, RunSettings
from exporter.store.merge import ids_in


async def confirm_deletions(findings: Findings, lister: Reader, at_once: int) -> int:
    """Leaves those deletions in `findings` that the API confirms by 404, and returns how many it does not.

    Raises `DestinationError` and `ContradictionError` where 404 would prove nothing.
    """
    if not any(findings.deleted.values()):
        return 0
    if findings.witness is None:
        raise DestinationError(
            "the API lists not one of the conversations that are there. Is it the same organization and address? "
            "Nothing was deleted; if they are, compare a wider range"
        )
    if not await lister.knows(findings.witness):
        raise ContradictionError(
            "the API answers 404 to the id of a conversation that it lists, so that 404 does not tell what was "
            "deleted. Nothing was changed; run again without --delete"
        )
    unlisted = 0

    async def confirm(found: tuple[Interval, str]) -> None:
        nonlocal unlisted
        interval, identity = found
        if await lister.knows(identity):
            findings.deleted[interval].discard(identity)
            unlisted += 1

    found = [(interval, identity) for interval, ids in findings.deleted.items() for identity in ids]
    await for_each(found, confirm, at_once=at_once)
    return unlisted


@dataclass(frozen=True, slots=True)
class Repair:
    """What `findings` say differs from `plan`, to be mended under the lock. `now`: the time to go by."""

    plan: Plan
    held: Held
    findings: Findings
    now: Now
    settings: RunSettings
    credentials: Credentials
    observer: Observer
    clock: Callable[[], float]

    async def run(self, *, delete: bool) -> tuple[Outcome, Counters]:
        """Reads again and merges. Afterwards the findings' `deleted` are those that are left."""
        plan, findings, settings = self.plan, self.findings, self.settings
        windows = Coverage(findings.reread)
        request = plan.request
        if not windows and not (delete and any(findings.deleted.values())):
            await self._put_in_order()
            return Outcome(), Counters()
        async with connected(
            settings,
            self.credentials,
            request.filters,
            request.fields,
            self.observer,
            self.clock,
            tables=request.tables,
        ) as reader:
            reader.now = self.now
            before = plan.state
            range_ = before.range or plan.windows[0]
            opening = await ask_first(reader, before, request, range_.since, range_.end, settings, self.observer)
            await mention_withheld(plan.store, before, opening, reader, self.observer)
            session = await Session.begin(
                plan.store,
                self.held,
                request,
                range_,
                reader,
                opening,
                settings,
                self.observer,
                self.clock,
                refuses_withheld=has_sensitive_fields(before),
            )
            spool = Spool()
            into = SpoolFactory(session.parts, session.parts.encoder, plan.homes, spool, reading=1)
            await session.read(windows, into, oldest=plan.oldest)
            gone = await self._gone(spool, delete=delete)
            change, outcome = await merge_spool(
                spool,
                session.log.state,
                plan.homes,
                session.parts,
                session.committer,
                gone=gone,
                refreshes=Coverage(),
                whole=windows,
            )
            if change.adds or change.removes or change.quarantines:
                await session.committer.commit(change, session.spent, kind="repair")
            await session.committer.sweep()  # what was put aside
            await seal(session.log, session.parts, session.committer, self.observer, goes_on=True)
            return outcome, session.spent

    async def _put_in_order(self) -> None:
        """For what a run that did not live to seal it has left."""
        plan, settings = self.plan, self.settings
        if await is_in_order(plan.store, plan.state):
            return
        await put_in_order(
            plan.store,
            self.held,
            self.observer,
            self.clock,
            target_bytes=settings.target_part_bytes,
            memory_bytes=settings.memory_bytes,
            open_windows=settings.concurrency,
        )

    async def _gone(self, spool: Spool, *, delete: bool) -> dict[Interval, Collection[str]]:
        """What is to be dropped, by home: what was deleted, and what lies elsewhere now. The findings keep the rest."""
        read_again = await to_thread.run_sync(ids_in, [part.path for home in spool.parts.values() for part in home])
        read_again |= set[str]().union(*spool.misfit_ids.values())
        gone: dict[Interval, Collection[str]] = {}
        deleted, moved = self.findings.deleted, self.findings.moved
        for interval in {*deleted, *moved}:
            # Another run of the walk has shown it, where it is.
            back = await to_thread.run_sync(ids_in, [part.path for part in spool.parts.get(interval, ())])
            back |= spool.misfit_ids.get(interval, set())
            elsewhere = (deleted.get(interval, set()) | moved.get(interval, set())) & read_again
            drop = (elsewhere | (deleted.get(interval, set()) if delete else set())) - back
            if drop:
                gone[interval] = drop
                spool.homes[interval] = self.findings.homes[interval]
            for ids in (deleted.get(interval, set()), moved.get(interval, set())):
                ids -= drop | back
        return gone
