"""`exporter protect` brings what is stored under a policy, or under a stricter one. It asks the API nothing.

A first commit brings the policy, withholds the rows in quarantine, and keeps nothing of earlier generations, which hold
rows as they were. Each further one puts parts that follow the policy in place of others. What is left is what names
another policy, so that the same command finishes what was cut short. Until then other runs are refused.

Tables must not show files that are gone. So an export with tables has one commit for all parts, and old files are
deleted only after the tables have let go of them.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

import msgspec

from exporter.clock import wall_clock
from exporter.encode.entities import protector_of
from exporter.encode.protect.paths import parse_path
from exporter.encode.protect.protector import Protector
from exporter.errors import ExporterError, StoreError
from exporter.jobs.protection_result import Protection, protection_of
from exporter.keys import Key, Keys
from exporter.layout import CONVERSATIONS, DROPPED
from exporter.log.commits import check_not_overtaken, load_commits, load_state
from exporter.log.privacy import PrivacyChange
from exporter.log.state import Commit
from exporter.model import Change, DataFile
from exporter.pipeline.committer import Committer
from exporter.pipeline.compaction import MERGED_AT_ONCE
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.protection import protect_part, withhold_rows
from exporter.privacy import Encryption, Policy
from exporter.progress import Observer
from exporter.run.claim import Claim, holding
from exporter.run.encryption import find_cipher, settle_encryption
from exporter.run.expiry import settle_tables
from exporter.run.finish import check_whole
from exporter.run.leftovers import find_leftovers
from exporter.run.policy_changes import difference
from exporter.run.protection import pending_files, settle_stricter, tables_of
from exporter.run.record import Run, recorded
from exporter.settings import Request, RunSettings, Selection
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.tasks import for_each

#: About this much is stored twice at a time: old parts are deleted before more are written.
_TWICE_BYTES: Final = 1024**3


class ProtectResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the `files` that were written again under the policy, and their `bytes`; `all_files` are those of the
    export. `protection` says what its rules have changed.

    `withheld_rows` counts rows in quarantine of which only a keyed hash is left, and `forgotten` the replaced files of
    earlier generations that were deleted. `remaining` are files that repairs have put aside, which hold rows as they
    were, and are still needed.
    """

    protection: Protection
    files: int
    bytes: int
    all_files: int
    withheld_rows: int
    forgotten: int
    remaining: tuple[str, ...]
    generation: int
    seconds: float

    @property
    def exit_status(self) -> int:
        return 3 if self.remaining else 0


async def protect(
    destination: Location,
    policy: Policy | None = None,
    *,
    encryption: Encryption | None = None,
    keys: Keys,
    memory_bytes: int,
    observer: Observer,
    clock: Callable[[], float] = time.monotonic,
) -> ProtectResult:
    """Rewrites all parts that do not follow `policy`, or the stored one. `keys` has its key.

    It encrypts nothing that is plain: `encryption` must be that of the export. Raises `DestinationError` if there is no
    export, `ProtectionError` for a policy that cannot be made of what is stored, for another encryption, and for a key
    that is missing or wrong, `DestinationLockedError` if another run is at work, `DamagedPartError`, and `StoreError`.
    What was written until then is committed.
    """
    settings = RunSettings(memory_bytes=memory_bytes, concurrency=MERGED_AT_ONCE)
    async with open_store(destination) as store:
        # This comes before the lock, which would be made in any case.
        state = await load_state(store)
        settle_stricter(state, policy, destination, keys)
        asked = Selection(policy=policy, encryption=encryption)
        settle_encryption(state, asked, destination)

        async def work(run: Run) -> ProtectResult:
            return await _protect(store, run, asked, keys, settings, observer, clock)

        return await recorded(store, "protect", work)


async def _protect(
    store: Store,
    run: Run,
    asked: Selection,
    keys: Keys,
    settings: RunSettings,
    observer: Observer,
    clock: Callable[[], float],
) -> ProtectResult:
    began = clock()
    async with holding(store, run, find_cipher(keys, store.location, asked)) as claim:
        before = claim.log.state
        policy = settle_stricter(before, asked.policy, store.location, keys)
        await check_whole(store, before)
        work = _Work.of(claim, policy, await load_commits(store), keys, settings, observer, clock)
        if before.privacy.policy is None or policy != before.privacy.policy:
            await work.begin()
        pending = [file for file in pending_files(claim.log.state) if file.table == CONVERSATIONS]
        await work.put_in_order()
        await work.rewrite(pending)
        leftovers = await find_leftovers(store, claim.log.state)
        await check_not_overtaken(store, claim.log.state)
        await store.delete(*leftovers.gone)
        after = claim.log.state
        done = protection_of(after) or Protection(fingerprint=policy.fingerprint)
        return ProtectResult(
            protection=msgspec.structs.replace(
                done, changed=work.counted("counts"), odd=work.counted("odd"), unmatched=work.unmatched()
            ),
            files=work.files,
            bytes=sum(file.size_bytes for file in pending),
            all_files=after.totals.files,
            withheld_rows=work.withheld_rows,
            forgotten=work.forgotten,
            remaining=tuple(sorted(await store.list(DROPPED))),
            generation=after.number,
            seconds=round(clock() - began, 3),
        )


@dataclass(slots=True)
class _Work:
    """Protects what a claim holds. `protectors` have the rules that rows under each policy still lack, by its
    fingerprint."""

    claim: Claim
    policy: Policy
    key: Key | None
    known: Mapping[str, Policy]
    stage: PartStage
    committer: Committer
    observer: Observer
    protectors: dict[str, Protector] = field(default_factory=dict)
    files: int = 0
    withheld_rows: int = 0
    forgotten: int = 0

    @classmethod
    def of(
        cls,
        claim: Claim,
        policy: Policy,
        commits: Sequence[Commit],
        keys: Keys,
        settings: RunSettings,
        observer: Observer,
        clock: Callable[[], float],
    ) -> "_Work":
        tables = tables_of(claim.log.state.request or Request(), policy, keys, reads=False)
        stage = claim.stage(tables, settings, clock)
        committer = Committer(claim.store, claim.log, tables.schemas, observer, clock)
        key = keys.privacy(policy.key) if policy.key is not None and policy.needs_key else None
        earlier = (commit.privacy.policy for commit in commits if commit.privacy is not None)
        known = {one.fingerprint: one for one in earlier if one is not None}
        return cls(claim, policy, key, known, stage, committer, observer)

    async def begin(self) -> None:
        """Puts the policy into the log, and what need not be written part by part."""
        log, stored = self.claim.log, self.claim.log.state.privacy.policy
        quarantine = log.state.quarantine
        if self.policy.quarantine == "keep" or (stored is not None and stored.quarantine == "withhold"):
            quarantine = {}
        self.withheld_rows = sum(file.rows for file in quarantine.values())
        made = await withhold_rows(self.stage, quarantine, self._protector(stored))
        forgets = tuple(sorted(log.state.kept))
        self.forgotten = len(forgets)
        await log.append(
            committed_at=wall_clock(),
            kind="protect",
            privacy=PrivacyChange(policy=self.policy),
            change=Change(removes=tuple(quarantine), quarantines=made),
            forgets=forgets,
        )

    async def put_in_order(self) -> None:
        """Lets tables go of what no commit names, then deletes that."""
        await settle_tables(self.claim.store, self.claim.log.state, self.observer)
        await self.committer.sweep()

    async def rewrite(self, pending: Sequence[DataFile]) -> None:
        """Puts parts that follow the policy in place of the `pending` ones. Raises `StoreError`."""
        if not pending:
            return
        log, is_together = self.claim.log, self.claim.log.state.table_format is not None
        for batch in [list(pending)] if is_together else list(_batches(pending)):
            self.observer.note("protecting files", files=len(batch))
            changes: list[Change] = []
            # A reader that trusts `_SUCCESS` would count the rows of old and new parts.
            await self.committer.unseal()
            try:
                await for_each(batch, partial(self._rewrite, changes if is_together else None), at_once=MERGED_AT_ONCE)
                if is_together:
                    adds = tuple(file for change in changes for file in change.adds)
                    removes = tuple(path for change in changes for path in change.removes)
                    await log.append(
                        committed_at=wall_clock(), kind="protect", change=Change(adds=adds, removes=removes)
                    )
            except ExporterError:
                with suppress(StoreError):
                    await self.committer.write_manifest()
                raise
            await self.put_in_order()

    async def _rewrite(self, together: list[Change] | None, file: DataFile) -> None:
        beside = self.claim.log.state.turns_beside(file)
        protector = self._protector(self.known.get(file.policy))
        adds = await protect_part(self.stage, file, protector)
        change = Change(adds=adds, removes=tuple(one.path for one in (file, *beside)))
        self.files += len(change.removes)
        if together is None:
            await self.committer.commit(change, kind="protect")
        else:
            together.append(change)

    def _protector(self, stored: Policy | None) -> Protector:
        name = "" if stored is None else stored.fingerprint
        if name not in self.protectors:
            self.protectors[name] = protector_of(difference(stored, self.policy), self.key)
        return self.protectors[name]

    def counted(self, what: Literal["counts", "odd", "reached"]) -> dict[str, int]:
        """Returns what all protectors have counted, by rule; never 0."""
        total = Counter[str]()
        for protector in self.protectors.values():
            total += getattr(protector, what)
        return dict(sorted(total.items()))

    def unmatched(self) -> tuple[str, ...]:
        """Returns the rules that were to be applied, and have led to no value."""
        used = [protector for protector in self.protectors.values() if protector.rows]
        rules = {path: rule for protector in used for path, rule in protector.policy.rules.items()}
        reached, columns = self.counted("reached"), self.stage.tables.encoder.schema.names
        return tuple(
            path
            for path, rule in rules.items()
            if rule.action != "keep" and path not in reached and parse_path(path)[0] in columns
        )


def _batches(pending: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    batch: list[DataFile] = []
    for file in sorted(pending, key=lambda file: (file.window, file.path)):
        batch.append(file)
        if sum(one.size_bytes for one in batch) >= _TWICE_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch
