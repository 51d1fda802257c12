"""Reads the share of a driver that is elsewhere: stages what it reads, and says what it has covered.

It holds no lock and writes no log. Whatever it leaves lies in the staging directory, under names that no other attempt
at the same task has: one that comes late, or twice, changes nothing that anybody sees.
"""

import secrets
import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Final

import anyio

from exporter.errors import DestinationError, ExporterError, SourceError, StoreError
from exporter.fetch.pace.throttle import Throttle
from exporter.keys import Keys
from exporter.log.expiry import field_floors
from exporter.media_cipher import check_installed
from exporter.pipeline.admission import Admission
from exporter.pipeline.collector import Collector
from exporter.pipeline.free_space import check_free_space
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.part_names import part_names
from exporter.pipeline.part_sink import PartSink
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import Guard, Role
from exporter.pipeline.turns import OwnTurns
from exporter.privacy import Encryption
from exporter.progress import Quiet
from exporter.run.connect import open_reader
from exporter.run.context import RunContext
from exporter.run.distribution_beacon import is_recalled, is_wanted
from exporter.run.division import scheduler_of
from exporter.run.erasure_subject import stored_form
from exporter.run.experience import learned_of, teach
from exporter.run.organization import Ownership
from exporter.run.protection import tables_of
from exporter.run.share import MOST_WARNINGS, Facts, Failure, Outcome, Share
from exporter.schedule.clock import Now
from exporter.settings import Credentials, RunSettings
from exporter.store.base import Store
from exporter.store.location import parse_location
from exporter.store.open import open_store
from exporter.tasks import alongside

#: How often it is looked whether the driver still wants what is read. At an object store, each look is a request.
_LOOK_SECONDS: Final = 0.5
_LOOK_AT_BUCKET_SECONDS: Final = 5.0
#: Once it does not, pages that were asked for may take this long to come.
_GRACE_SECONDS: Final = 5.0


#: The tokens that tasks of this process have judged, by their hashes, and by what for: an address, the organizations
#: that the driver knows, and whether there are rows. One that was refused is judged again.
_JUDGED: Final[set[tuple[str, bytes, tuple[str | None, ...], bool]]] = set()


class Warnings(Quiet):
    """Keeps what it is warned of, each text once."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def warn(self, event: str, /, **details: object) -> None:
        if len(self._texts) < MOST_WARNINGS:
            self._texts[event] = None

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)


class Beacon:
    """Tells whether the driver sees the same destination, and still wants what a task reads."""

    def __init__(self, store: Store, share: Share) -> None:
        self._store = store
        self._share = share
        self._seconds = _LOOK_SECONDS if isinstance(store.location, Path) else _LOOK_AT_BUCKET_SECONDS
        self._is_gone = False
        self._is_recalled = False

    async def check(self) -> None:
        """Raises `DestinationError` if it is not there, and `StoreError`."""
        if not is_wanted(await self._store.read(self._share.beacon), self._share.nonce):
            raise DestinationError(
                f"{self._store.location}: not the destination that the driver writes to, or the run has ended. Give "
                "one that all workers share, by a path that is the same on each of them, or in an object store"
            )

    async def recalled(self) -> None:
        """Returns once the task is recalled, or the beacon is gone."""
        while not (self._is_recalled or self._is_gone):
            await self._look()

    async def gone(self) -> None:
        """Returns once it is gone, or there is that of another run."""
        while not self._is_gone:
            await self._look()

    async def _look(self) -> None:
        await anyio.sleep(self._seconds)
        # Whatever cannot be read now says nothing.
        with suppress(StoreError):
            content = await self._store.read(self._share.beacon)
            self._is_gone = not is_wanted(content, self._share.nonce)
            self._is_recalled = is_recalled(content, self._share.task)


async def read_share(share: Share, credentials: Credentials, environment: Mapping[str, str]) -> Outcome:
    """Returns what the task has brought, also beside the error that has ended it. Raises the `ExporterError` for which
    it cannot begin: the API was asked nothing then."""
    keys = share.keys.found_in(environment)
    with _encrypting(share.privacy.encryption, keys):
        async with open_store(parse_location(share.destination)) as store:
            store.file_mode = share.file_mode
            beacon = Beacon(store, share)
            await beacon.check()
            await check_free_space(store)
            return await _read(share, store, beacon, share.settings.used_in(environment), credentials, keys)


async def _read(
    share: Share, store: Store, beacon: Beacon, settings: RunSettings, credentials: Credentials, keys: Keys
) -> Outcome:
    request, facts, privacy = share.request, share.facts, share.privacy
    floors = field_floors(privacy.floors)
    tables = tables_of(request, privacy.policy, keys, floors=floors)
    admission = Admission.of(privacy, keys, stored_form(privacy, keys))
    throttle, warnings, clock = Throttle(settings.max_rps, settings.concurrency), Warnings(), monotonic
    context = RunContext(settings, credentials, warnings, clock, keys, OwnTurns(throttle, clock))
    collector = Collector(store)
    # An engine may run a task twice at the same time.
    names = part_names(f"{share.task}-{secrets.token_hex(3)}")
    stage = PartStage.of(store, tables, share.run, settings, clock, names, collector)
    async with open_reader(request, context) as reader:
        _tell(reader, facts)
        role = Role(reader.fields_of, partial(_known, facts.sighted), tables.encoder.sensitive)
        asked, refuses = facts.asked_organization, facts.refuses_withheld
        guard = Guard(facts.stored_organization, role, asked_organization=asked, refuses_withheld=refuses)
        guard.organization = facts.organization
        hydrator = Hydrator.of(reader, request, settings, facts.hydrated, floors)
        if hydrator is not None:
            hydrator.admission = admission
        pipeline = Pipeline(
            share.scan,
            scheduler_of(share.scan, tables.place, settings.page_size, facts.oldest, facts.density),
            reader,
            PartSink(stage, guard, arrives=True),
            collector,
            settings,
            hydrator=hydrator,
            admission=admission,
        )
        failure = None
        try:
            reader.vouched_by((await _ownership(reader, share, credentials)).vouch)
            async with alongside(partial(_end_in_time, pipeline, beacon, share.budget_seconds)):
                await pipeline.run()
        except ExporterError as error:
            failure = failure_of(error, credentials)
        protector = tables.protector
        return Outcome(
            task=share.task,
            change=collector.change,
            staged=collector.staged,
            counters=pipeline.spent,
            rows=reader.report.rows,
            bytes=reader.report.bytes,
            kept_out=tuple(sorted(admission.kept_out_tags)),
            hydrated=() if hydrator is None else tuple(sorted(hydrator.filled)),
            changed={} if protector is None else dict(protector.counts),
            odd={} if protector is None else dict(protector.odd),
            reached={} if protector is None else dict(protector.reached),
            protected_rows=0 if protector is None else protector.rows,
            rate=throttle.learned_rate,
            learned=learned_of(reader),
            warnings=tuple(map(credentials.bearer.hidden, warnings.texts)),
            failure=failure,
        )


def failure_of(error: ExporterError, credentials: Credentials | None = None) -> Failure:
    """Returns an error as plain data: without what its message shares with the token, and with the machine that it is
    about, unless it is about the API."""
    message = str(error) if credentials is None else credentials.bearer.hidden(str(error))
    if not isinstance(error, SourceError):
        message = f"worker {socket.gethostname()}: {message}"
    return Failure(kind=type(error).__name__, message=message)


async def _ownership(reader: Reader, share: Share, credentials: Credentials) -> Ownership:
    """Returns what judges the tokens of a task, after the first one, unless another task here has had the same.

    Raises as `Ownership.settle`.
    """
    facts, has_seen = share.facts, share.facts.newest is not None
    ownership = Ownership(reader, credentials, facts.stored_organization, facts.stored_rows)
    token = sha256(credentials.token.encode()).digest()
    owners = facts.organization, facts.stored_organization, facts.asked_organization
    judged = (share.settings.base_url, token, owners, has_seen or facts.stored_rows > 0)
    await ownership.settle_elsewhere(facts.organization, has_seen=has_seen, asks=judged not in _JUDGED)
    _JUDGED.add(judged)
    return ownership


async def _end_in_time(pipeline: Pipeline, beacon: Beacon, budget_seconds: float) -> None:
    """Ends the pipeline when its budget is spent, it is recalled, or nobody wants what it reads."""
    with anyio.move_on_after(budget_seconds):
        await beacon.recalled()
    pipeline.finish()
    await beacon.gone()
    await anyio.sleep(_GRACE_SECONDS)
    pipeline.stop()


def _tell(reader: Reader, facts: Facts) -> None:
    """Tells a reader what the driver knows."""
    reader.now = Now(reader.clock(), facts.now)
    reader.traits.expect(facts.newest, facts.density)
    teach(reader, facts.learned, facts.lowest, has_several=facts.has_several)


async def _known(sighted: tuple[str, ...]) -> tuple[str, ...]:
    return sighted


def _encrypting(encryption: Encryption | None, keys: Keys) -> AbstractContextManager[None]:
    """Encrypts what is written in the block. Raises `ProtectionError` without the key, and `UsageError` without the
    package that encrypts what is no part."""
    if encryption is None:
        return nullcontext()

    from exporter.parts.cipher import Cipher, using

    check_installed()
    return using(Cipher(encryption, keys.data(encryption.key)))
