"""Whatever happens at a source, and whatever is run in whatever order, a destination matches a model of it.

EXPORTER_SEQUENCES=1000 pytest -s tests/jobs/test_any_sequence.py            a thousand sequences

hypothesis prints the shortest sequence of steps that it could find, as a program.
"""

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import pyarrow as pa
import pytest
from anyio.from_thread import start_blocking_portal
from deltalake import DeltaTable
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.contract import (
    BEGINNING,
    DAY,
    END_OF_TIME,
    HOUR,
    MINUTE,
    OPEN_STATUSES,
    SECOND,
    Instant,
    instant_of,
    parse_timestamp,
)
from exporter.coverage import Coverage, Interval
from exporter.errors import AccessError, ProtectionError
from exporter.jobs.accept import accept
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.erase import erase
from exporter.jobs.expire import expire
from exporter.jobs.export import export
from exporter.jobs.protect import protect
from exporter.jobs.rekey import rekey
from exporter.jobs.reread import reread
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.keys import Key, Keys
from exporter.layout import is_part
from exporter.log import head
from exporter.log.commits import load_commits, load_state
from exporter.log.state import State
from exporter.model import RECORDINGS, TABLES, TableFormat
from exporter.parts.cipher import Cipher, using
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.privacy import Encryption, EncryptionMode, Policy
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import TOKEN, Behaviour, Row, serve
from exporter.sandbox.render import served_instant
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory, assert_same, snapshot, without_lock
from tests.end_to_end.records import Record, records
from tests.jobs.cut_short import Cut
from tests.jobs.damage import flip, truncate
from tests.jobs.kept_recordings import keep_rows
from tests.jobs.moving import T0, Source, settings_for
from tests.toolkit.canary_search import OpenParquet
from tests.toolkit.encrypted import check_closed, data_key, encryption_with, keys_with, opened_with, text_of
from tests.toolkit.feeds import Generations
from tests.toolkit.instants import coverage_of
from tests.toolkit.protected import POLICY, STRICTER, all_protected, tag_of
from tests.toolkit.sizes import THOROUGH, size_of
from tests.toolkit.told_changes import Table, check_told, table_of

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("hasty")

#: A conversation begins with `token_created`, and never becomes it.
LATER = ("completed", "failed", "in_progress")
#: An open conversation is asked for again for this long; later, silent changes are seen only by chance.
OPEN_FOR = 2 * DAY
#: The time that a page may take on a busy machine.
PATIENCE = 10 * MINUTE
LAGS = (0, 60, 3600, 2 * 86_400)

behaviours = st.builds(
    Behaviour,
    cursor=st.sampled_from(("strict", "inclusive")),
    precision=st.sampled_from(("us", "ms", "s")),
    rounding=st.sampled_from(("cut", "half-up")),
    page_cap=st.sampled_from((None, None, 3, 100)),
    equals=st.sampled_from(("fixed", "shuffled")),
    hides_token_created=st.booleans(),
    ignores=st.sampled_from(((), (), (), ("updated_after",))),
)
offsets = st.one_of(
    st.sampled_from((0, 1, -1, SECOND, HOUR, DAY - 1, HOUR - 1, SECOND // 2)), st.integers(0, 23).map(HOUR.__mul__)
)
#: Numbers that choose an element of any list.
choices = st.integers(0, 1000)


class Sequences(RuleBasedStateMachine):
    """Models a destination: `there` holds each row as it was last read, whether it fits the columns or not.

    Rules whose names begin with `at_source` change the source, the others run a command. A further command needs a rule
    that says what it makes of `there` and `coverage`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.root = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "export"
        self.generations = Generations(self.root)
        self.portal = self.stack.enter_context(start_blocking_portal())
        self.there: dict[str, Row] = {}
        self.coverage = Coverage()
        self.doubtful: set[str] = set()
        self.keep = 0
        self.older: list[set[str]] = []
        #: Files that were deleted by no command; a table's older versions may name them for ever.
        self.lost: set[str] = set()
        #: Files that were damaged; one that was taken out may be kept for older versions of a table.
        self.damaged: set[str] = set()
        self.in_step = False
        #: The lines in quarantine that were accepted, and are still there.
        self.known: set[str] = set()
        #: What was last said of the recording of each conversation.
        self.recorded: dict[str, str] = {}
        #: The ids that were erased, and the users whose rows must not come back.
        self.erased: set[str] = set()
        self.strangers: set[object] = set()
        #: The ages in days at which rows expire, or values of a field, and the times before which all have.
        self.ages: dict[str, int] = {}
        self.floors: dict[str, Instant] = {}
        #: The key that encrypts, and how many there were.
        self.data_key: Key | None = None
        self.encryption: Encryption | None = None
        self.keys_drawn = 0
        #: What the table of conversations had when it was last looked at.
        self.table = Table(State(), {})
        #: Each row is in one place, as after a run that was not cut short.
        self.is_settled = True

    def teardown(self) -> None:
        self.stack.close()

    @initialize(
        behaviour=behaviours,
        partition_by=st.sampled_from(("day", "hour", "month", "none")),
        page_size=st.sampled_from((2, 7, 1000)),
        part_bytes=st.sampled_from((1, 20_000, 1 << 28)),
        since=st.sampled_from((None, T0 + 2 * DAY, T0 + 5 * DAY + 5 * HOUR + 1)),
        rows=st.integers(0, 60),
        seed=st.integers(0, 1000),
        by_sync=st.booleans(),
        tables=st.sampled_from((None, TABLES)),
        table_kind=st.sampled_from((None, None, "delta")),
        policy=st.sampled_from((None, POLICY)),
        encrypted=st.sampled_from((None, None, "uniform", "columns")),
    )
    def begin(
        self,
        behaviour: Behaviour,
        partition_by: Any,
        page_size: int,
        part_bytes: int,
        since: Instant | None,
        rows: int,
        seed: int,
        by_sync: bool,
        tables: tuple[str, ...] | None,
        table_kind: Literal["delta"] | None,
        policy: Policy | None,
        encrypted: EncryptionMode | None,
    ) -> None:
        self.policy = policy
        # No reader of tables decrypts.
        if encrypted is not None and table_kind is None:
            self.data_key = self._draw_key()
            self.encryption = encryption_with(encrypted, self.data_key)
        self.has_table = table_kind is not None
        self.behaviour = behaviour
        server = serve((), behaviour, clock=lambda: self.source.now)
        sandbox = self.stack.enter_context(self.portal.wrap_async_context_manager(server))
        self.source = Source(sandbox, random.Random(0), T0 + 10 * DAY)
        table_format = None if table_kind is None else TableFormat(kind=table_kind)
        self.asked = Selection(
            since=since,
            partition_by=partition_by,
            tables=tables,
            table_format=table_format,
            policy=policy,
            encryption=self.encryption,
        )
        self.settings = settings_for(self.source, page_size=page_size, target_part_bytes=part_bytes)
        chance = random.Random(seed)
        for _ in range(rows):
            created_at = T0 + chance.randrange(10 * DAY) // HOUR * HOUR + chance.randrange(3)
            self._insert(created_at, status=chance.choice((*LATER, "token_created")))
            # More rows of one time than a page holds are told apart by `updated_at`, which may be served in seconds.
            self.source.now += SECOND
        if by_sync:
            self._note_sync(self._sync(self.asked, 60, None))
        else:
            self._export(self.asked, 60)

    # These rules change the source.

    @rule(
        day=st.integers(-1, 9),
        offset=offsets,
        count=st.integers(1, 9),
        spread=st.sampled_from((0, 0, 1, SECOND, HOUR)),
        status=st.sampled_from((*LATER, "token_created")),
    )
    def at_source_rows_appear(self, day: int, offset: int, count: int, spread: int, status: str) -> None:
        self.source.now += SECOND
        # More rows of one time than a page holds are told apart by `updated_at` alone.
        spread = spread or bool(self.behaviour.ignores)
        for number in range(count):
            created_at = min(T0 + day * DAY + offset + spread * number, self.source.now)
            self._insert(created_at, status=status)
            self.source.now += SECOND

    @rule(which=choices, aside=st.sampled_from((0, -1, 1, SECOND, -SECOND)))
    def at_source_a_row_appears_where_windows_meet(self, which: int, aside: int) -> None:
        edges = sorted({edge for interval in self._windows() for edge in (interval.start, interval.end)})
        edges = [edge for edge in edges if edge > T0 - 2 * DAY] or [self.source.now]
        self.source.now += SECOND
        self._insert(min(edges[which % len(edges)] + aside, self.source.now))

    @rule(ago=st.integers(0, 120), status=st.sampled_from((*LATER, "token_created")))
    def at_source_a_call_comes_in(self, ago: int, status: str) -> None:
        self.source.now += MINUTE
        self._insert(self.source.now - ago * SECOND, status=status)

    @rule(which=choices, status=st.sampled_from(LATER), duration=st.sampled_from((None, 5, "a while")))
    def at_source_a_row_changes(self, which: int, status: str, duration: object) -> None:
        if identity := self._one_of(sorted(self.source.rows), which):
            self.source.now += 1000
            self.source.update(identity, status=status, duration=duration, summary=f"{self.source.now}")

    @rule(which=choices, day=st.integers(-1, 9), offset=offsets)
    def at_source_a_row_moves(self, which: int, day: int, offset: int) -> None:
        if identity := self._one_of(sorted(self.source.rows), which):
            self.source.now += SECOND
            created_at = min(T0 + day * DAY + offset, self.source.now)
            self.source.update(identity, created_at=created_at, summary=f"{self.source.now}")

    @rule(which=choices, where=st.sampled_from(("newest", "next", "before")))
    def at_source_a_row_moves_a_little(self, which: int, where: str) -> None:
        if identity := self._one_of(sorted(self.source.rows), which):
            self.source.now += SECOND
            was = self.source.rows[identity].created_at
            midnight = was // DAY * DAY
            to = {"newest": self.source.now, "next": midnight + DAY, "before": midnight - 1}[where]
            self.source.update(identity, created_at=min(to, self.source.now), summary=f"{self.source.now}")

    @rule(which=choices)
    def at_source_a_row_is_updated_in_the_future(self, which: int) -> None:
        if identity := self._one_of(sorted(self.source.rows), which):
            self.source.now += SECOND
            at = self.source.now + 70 * 365 * DAY
            self.source.update(identity, at=at, summary=f"{self.source.now}")

    @rule(which=st.integers(0, 4), status=st.sampled_from(LATER))
    def at_source_an_open_row_changes_silently(self, which: int, status: str) -> None:
        rows = [(-row.created_at, name) for name, row in self.source.rows.items()]
        # The youngest come first: a sync makes promises about these only.
        open_ = [name for _, name in sorted(rows) if self.source.rows[name].fields["status"] in OPEN_STATUSES]
        if identity := self._one_of(open_, which):
            at = self.source.rows[identity].updated_at
            self.source.update(identity, at=at, status=status, user_turn_count=len(self.source.rows) + which)

    @rule(which=choices)
    def at_source_a_row_is_deleted(self, which: int) -> None:
        if identity := self._one_of(sorted(self.source.rows), which):
            self.source.delete(identity)

    @rule(hours=st.sampled_from((0, 1, 24, 72)))
    def at_source_time_goes_by(self, hours: int) -> None:
        self.source.now += MINUTE + hours * HOUR

    # These rules run a command.

    @rule(lag=st.sampled_from(LAGS), keep=st.sampled_from((None, None, 0, 1, 3)), earlier=st.booleans())
    def sync(self, lag: int, keep: int | None, earlier: bool) -> None:
        asked = Selection(since=self._since(T0 - DAY)) if earlier and self.coverage else self.asked
        self._note_sync(self._sync(asked, lag, None if self.has_table else keep))

    @rule(requests=st.integers(0, 40))
    def sync_is_cut_short(self, requests: int) -> None:
        self.source.sandbox.behaviour = msgspec.structs.replace(self.behaviour, revoked_after=requests)
        try:
            synced = self._sync(self.asked, 60, None)
        except AccessError:
            self._note_read()
        else:
            self._note_sync(synced)
        finally:
            self.source.sandbox.behaviour = self.behaviour

    @rule(earlier=st.booleans(), later=st.booleans(), lag=st.sampled_from(LAGS))
    def export(self, earlier: bool, later: bool, lag: int) -> None:
        since = self._since(T0 - DAY if earlier else self.asked.since)
        until = self.source.now if later else None
        self._export(msgspec.structs.replace(self.asked, since=since, until=until), lag)

    def _export(self, asked: Selection, lag: int) -> None:
        settings_ = settings_for(
            self.source,
            page_size=self.settings.page_size,
            target_part_bytes=self.settings.target_part_bytes,
            lag_seconds=lag,
        )
        summary = self._run(lambda: export(self.root, asked, self._context(settings_)))
        assert summary.state != "incomplete"
        self._note_read()
        self._check_age()
        self.doubtful |= self._beside_what_was_read()

    def _beside_what_was_read(self) -> set[str]:
        """Returns rows that differ: they may be beside one that has moved, on a page that was read again."""
        rows = self._shown()
        covered = {name for name, row in rows.items() if _holds(self.coverage, self._served(row))}
        return {name for name in covered if self.there.get(name) is not rows[name]}

    @precondition(lambda self: self.coverage)
    @rule(part_bytes=st.sampled_from((1, 20_000, 1 << 28)))
    def compact(self, part_bytes: int) -> None:
        before = self.coverage
        self._run(
            lambda: compact(self.root, target_bytes=part_bytes, memory_bytes=1 << 28, observer=Quiet(), keys=self.keys)
        )
        self._note_read()
        assert self.coverage == before

    @precondition(lambda self: self.coverage)
    @rule(kept=st.booleans())
    def vacuum(self, kept: bool) -> None:
        before = 0 if kept else END_OF_TIME
        self._run(lambda: vacuum(self.root, before=before, now=self.source.now, keys=self.keys))
        if not kept:
            self.older = []
        self._note_read()

    @precondition(lambda self: self.coverage)
    @rule(some=st.lists(st.tuples(choices, st.sampled_from(("stored", "gone", "failed")), st.integers(0, 3))))
    def keep_recordings(self, some: list[tuple[int, str, int]]) -> None:
        names = sorted(self.there)
        told = {names[which % len(names)]: (status, audio) for which, status, audio in some if names}
        placed = {name: instant_of(row["conversation_created_at"]) for name, row in self._recordings().items()}
        rows = {
            name: (placed.get(name, self._served(self.there[name])), status, b"%d" % audio)
            for name, (status, audio) in told.items()
        }
        self._run(lambda: keep_rows(self.root, rows, self._cipher()))
        self.recorded |= {name: status for name, (_, status, _) in rows.items()}

    @precondition(lambda self: self.coverage and self.is_settled and self.recorded)
    @rule(which=choices, damage=st.sampled_from((flip, truncate, None)), is_part=st.booleans())
    def recordings_are_damaged_and_repaired(
        self, which: int, damage: Callable[[Path, str], None] | None, is_part: bool
    ) -> None:
        rows, exported = self._recordings(), self._exported()
        media = sorted({row["path"] for row in rows.values() if row["path"] is not None})
        path = self._one_of([file["path"] for file in exported.recordings] if is_part else media, which)
        if path is None:
            return
        lost = {name for name, row in rows.items() if row["path"] == path}
        if is_part:
            lost = {*self._open(self.root / path).read()["conversation_id"].to_pylist()}
        if damage is None:
            (self.root / path).unlink()
            self.lost.add(path)
        else:
            damage(self.root, path)
            self.damaged.add(path)
        found = self.portal.call(partial(verify, self.root, now=self.source.now, media=True, keys=self.keys))
        assert {problem.file for problem in found.problems} == {path}
        mended = self._run(lambda: verify(self.root, now=self.source.now, media=True, repair=True, keys=self.keys))
        assert (mended.sound, mended.dropped_recordings, mended.uncovered) == (True, len(lost), ())
        self.recorded = {name: status for name, status in self.recorded.items() if name not in lost}
        live = self._live()
        self.older = [files & live | {one for one in files if (self.root / one).exists()} for files in self.older]

    @precondition(lambda self: self.coverage)
    @rule(dry_run=st.booleans())
    def accept(self, dry_run: bool) -> None:
        there = self._quarantined()
        self._run(lambda: accept(self.root, now=self.source.now, dry_run=dry_run), writes=False)
        self.known = self.known if dry_run else there

    @precondition(lambda self: self.coverage and self.is_settled)
    @rule(share=st.sampled_from((0.3, 1.0)))
    def verify(self, share: float) -> None:
        verified = self.portal.call(partial(verify, self.root, now=self.source.now, share=share, keys=self.keys))
        assert verified.sound, verified.problems

    @precondition(lambda self: self.coverage and self.is_settled)
    @rule(which=choices, damage=st.sampled_from((flip, truncate, None)))
    def a_file_is_damaged_and_repaired(self, which: int, damage: Callable[[Path, str], None] | None) -> None:
        exported = self._exported()
        files = [*exported.files, *exported.turns, *exported.manifest["quarantine"]["files"]]
        path = self._one_of(sorted(file["path"] for file in files), which)
        if path is None:
            return
        if damage is None:
            (self.root / path).unlink()
            self.lost.add(path)
        else:
            damage(self.root, path)
            self.damaged.add(path)
        found = self.portal.call(partial(verify, self.root, now=self.source.now, keys=self.keys))
        assert {problem.file for problem in found.problems} == {path}
        mended = self._run(lambda: verify(self.root, now=self.source.now, repair=True, keys=self.keys))
        assert mended.sound
        lost = coverage_of(mended.uncovered)
        assert lost
        self.coverage -= lost
        self.there = {name: row for name, row in self.there.items() if not _holds(lost, self._served(row))}
        # Files that a repair has taken out are kept only for older versions of a table, if they still exist.
        live = self._live()
        self.older = [files & live | {one for one in files if (self.root / one).exists()} for files in self.older]

    @precondition(lambda self: self.coverage and self.is_settled)
    @rule(repair=st.booleans(), delete=st.booleans())
    def audit(self, repair: bool, delete: bool) -> None:
        covered = {name: row for name, row in self._shown().items() if _holds(self.coverage, self._served(row))}
        gone = self.there.keys() - self.source.rows.keys()
        outside = self.there.keys() & self.source.rows.keys() - covered.keys()
        differing = {
            name: row
            for name, row in covered.items()
            if (known := self.there.get(name)) is None or self._shows_change(known, row)
        }
        # Otherwise a 404 proves nothing.
        delete = delete and repair and bool(covered.keys() & self.there.keys())
        settings_ = settings_for(self.source, page_size=self.settings.page_size)
        found = self._run(
            lambda: audit(
                self.root,
                Selection(),
                self._context(settings_),
                now=self.source.now,
                repair=repair,
                delete=delete,
            ),
            writes=repair,
        )
        total = found.findings.total
        differ = sum(map(total, ("missing", "changed", "moved", "later")))
        assert (total("deleted"), differ) == (len(gone) + len(outside), len(differing))
        if not repair:
            return
        silently = {name for name, row in covered.items() if name not in differing and self.there[name] is not row}
        self.doubtful |= silently  # they may have been on a page that was read again
        self.there |= differing
        if delete:
            self.there = {name: row for name, row in self.there.items() if name not in gone}
            self.recorded = {name: status for name, status in self.recorded.items() if name not in gone}

    @precondition(lambda self: self.coverage and self.there and self.is_settled)
    @rule(day=st.integers(-1, 9), days=st.sampled_from((1, 3, 20)))
    def reread(self, day: int, days: int) -> None:
        state = self._state()
        if state.range is None:
            return
        bounds = Interval(T0 + day * DAY, T0 + (day + days) * DAY)
        read = Coverage([state.range]) & Coverage([bounds])
        inside = {name for name, row in self.there.items() if _holds(self.coverage & read, self._served(row))}
        listed = {name: row for name, row in self._shown().items() if _holds(read, self._served(row))}
        unlisted = inside - listed.keys()
        elsewhere = unlisted & self.source.rows.keys()
        # If no stored row is listed, or most of them are elsewhere, it refuses.
        lists_some = any(_fits(self.there[name]) for name in inside & listed.keys())
        if not read or (unlisted and not lists_some) or (elsewhere and 2 * len(unlisted) > len(inside)):
            return
        settings_ = settings_for(self.source, page_size=self.settings.page_size)
        asked = Selection(since=bounds.start, until=bounds.end)
        done = self._run(lambda: reread(self.root, asked, self._context(settings_)))
        assert done.kept == len(elsewhere)
        self.coverage |= read
        gone = unlisted - elsewhere
        self.there = {name: row for name, row in self.there.items() if name not in gone} | listed
        self.recorded = {name: status for name, status in self.recorded.items() if name not in gone}
        self.doubtful -= listed.keys()
        self.doubtful |= self._beside_what_was_read()

    @precondition(lambda self: self.coverage and self.there)
    @rule(which=choices, by_user=st.booleans(), future=st.booleans())
    def erase(self, which: int, by_user: bool, future: bool) -> None:
        name = sorted(self.there)[which % len(self.there)]
        user = self.there[name].fields["user_id"]
        wish = Wish(by="user_id", values=(str(user),), future=future) if by_user else Wish(ids=(name,))
        theirs = {known for known, row in self.there.items() if row.fields["user_id"] == user}
        gone = theirs if by_user else {name}
        erased = self._run(lambda: erase(self.root, wish, self.keys, Quiet(), now=self.source.now))
        tombstones = self._state().privacy.tombstones
        known = {*self.source.rows, *self.source.gone, *self.there}
        before, self.erased = self.erased, {one for one in known if tag_of("tombstone", one) in tombstones}
        # Files that were replaced, and are kept, may have rows that a repair has taken out.
        newly = self.erased - before
        assert newly >= gone
        assert not (newly - gone) & self.there.keys()
        assert erased.erased.conversations + erased.erased.quarantine_lines == len(newly)
        self.strangers |= {user} if by_user and future else set()
        self._forget(newly)

    @precondition(lambda self: self.coverage and (not self.has_table or self.in_step))
    @rule(
        ages=st.dictionaries(
            st.sampled_from(("conversations", "conversation", "summary")),
            st.sampled_from((30, 9, 6, 3)),
            min_size=1,
            max_size=2,
        )
    )
    def expire(self, ages: dict[str, int]) -> None:
        state = self._state()
        if state.range is None or (self.has_table and not state.is_whole):
            return
        if "conversations" in ages and self.source.now - ages["conversations"] * DAY >= state.range.end:
            return
        self.ages, before = ages, dict(self.floors)
        expired = self._run(
            lambda: expire(
                self.root,
                now=self.source.now,
                asked={name: days * DAY // SECOND for name, days in ages.items()},
                settings=self.settings,
                observer=Quiet(),
                keys=self.keys,
            )
        )
        self._note_read()
        for name in {"conversation", "summary"} & ages.keys():
            below = [row for row in self.there.values() if _fits(row) and self._served(row) < self._floor(name)]
            newly = sum(self._served(row) >= before.get(name, BEGINNING) for row in below)
            assert expired.values.get(name, 0) == newly

    @precondition(lambda self: self.coverage and self.policy is not STRICTER and (not self.has_table or self.in_step))
    @rule(
        policy=st.sampled_from((POLICY, STRICTER)),
        cuts=st.lists(st.integers(1, 150), max_size=2),
        kills=st.booleans(),
        other=choices,
    )
    def protect(self, policy: Policy, cuts: list[int], kills: bool, other: int) -> None:
        if policy is self.policy or (self.has_table and not self._state().is_whole):
            return
        accepted = {json.loads(line)["id"] for line in self.known}
        before = self._state().privacy.fingerprint

        def job(asked: Policy | None = None) -> Any:
            return protect(self.root, asked, keys=self.keys, memory_bytes=1 << 28, observer=Quiet())

        def check() -> bool:
            state = self._state()
            is_begun = state.privacy.fingerprint != before
            followed = {state.privacy.fingerprint: policy if is_begun else self.policy, before: self.policy}
            self._check_cut(state, followed, self.keys, self._open, other)
            return is_begun

        self._finish(partial(job, policy), job, cuts, kills, check)
        self.policy, self.older = policy, []
        self.asked = msgspec.structs.replace(self.asked, policy=policy if kills else None)
        self.known = {line for line in self._quarantined() if json.loads(line)["id"] in accepted}

    @precondition(lambda self: self.coverage and not self.has_table)
    @rule(cuts=st.lists(st.integers(1, 150), max_size=2), kills=st.booleans(), other=choices)
    def rekey(self, cuts: list[int], kills: bool, other: int) -> None:
        new_key = self._draw_key()
        old, opens = self.keys, opened_with(new_key, *([self.data_key] if self.data_key else []))

        def job() -> Any:
            return rekey(self.root, new_key=new_key, keys=old, memory_bytes=1 << 28, observer=Quiet())

        def check() -> bool:
            state = self._state()
            is_begun = state.privacy.key_name == new_key.name
            followed = {state.privacy.fingerprint: self.policy}
            self._check_cut(state, followed, keys_with(new_key) if is_begun else old, opens, other)
            return is_begun

        self._finish(job, job, cuts, kills, check)
        self.data_key, self.older = new_key, []
        self.encryption = self._state().privacy.encryption
        self.asked = msgspec.structs.replace(self.asked, encryption=self.encryption if kills else None)

    # These invariants must hold.

    @invariant()
    def tells_what_has_changed(self) -> None:
        if not self.coverage:
            return
        before, state = self.table, self._state()
        if state.number == before.state.number:
            return
        self.table = table_of(self.root, state, self._open)
        commits = self.portal.call(load_commits, LocalStore(self.root))
        check_told(self.root, before, self.table, commits[before.state.number :], self._open)

    @invariant()
    def gives_every_generation_what_has_changed(self) -> None:
        if not self.coverage:
            return
        key = None if self.data_key is None else text_of(self.data_key)
        state, before = self._state(), [*self.generations.tables]
        self.generations.note(state, self._open)
        if state.number not in before:
            some = [before[0], before[-1], before[state.number % len(before)]] if before else []
            self.generations.check_from_all(before if THOROUGH in os.environ else {*some}, key=key)
            if before:
                self.generations.check(some[-1], before[-1], key=key)

    @invariant()
    def is_what_the_model_is(self) -> None:
        if not self.coverage:
            return
        state = self._state()
        exported = self._exported()
        certificates = {erasure.certificate for erasure in state.privacy.erasures}
        exported.check_sound(kept=(state.kept - self.lost) | certificates)
        self._check_nobody_is_back()
        self._check_private(state)
        assert Coverage(Interval(*interval) for interval in exported.coverage) == self.coverage
        statuses = {name: row["status"] for name, row in exported.recording_rows().items()}
        assert statuses == self.recorded
        with using(self._cipher()):
            garbage = self.portal.call(find_media_garbage, LocalStore(self.root), state)
        assert not garbage, "media that no row names"
        self.known &= self._quarantined()
        self.is_settled = not state.unsettled
        if not self.is_settled:
            assert exported.state != "complete"
            return
        found = exported.records()
        quarantined = {line["id"]: line["row"] for line in exported.quarantined()}
        assert not found.keys() & quarantined.keys()
        assert len(state.new_doubts) == len(self._quarantined() - self.known)
        assert bool(state.acceptances) == bool(self.known)
        for identity in self.doubtful & self._shown().keys():
            row = self.source.rows[identity]
            expected = self._expected([row])[identity]
            names = ("status", "user_turn_count", "summary", "created_at", "updated_at", "conversation")
            is_shown = identity in found and all(found[identity][name] == expected[name] for name in names)
            if is_shown or self._is_put_aside(quarantined.get(identity), row):
                self.there[identity] = row
        self.doubtful.clear()
        fitting = [row for row in self.there.values() if _fits(row)]
        assert_same(found, self._expected(fitting))
        put_aside = {name: row for name, row in self.there.items() if not _fits(row)}
        assert quarantined.keys() == put_aside.keys()
        assert all(self._is_put_aside(text, put_aside[name]) for name, text in quarantined.items())
        opened = sum(row.fields["status"] in OPEN_STATUSES for row in fitting)
        assert exported.manifest["totals"]["open_rows"] == opened
        since = parse_timestamp(exported.manifest["updates_since"])
        for identity, row in self._shown().items():
            if _holds(self.coverage, self._served(row)) and (known := self.there.get(identity)) is not row:
                assert row.updated_at >= since or (known and known.updated_at == row.updated_at), identity
        for files in self.older:
            assert all((self.root / path).exists() for path in files), "a file of an older manifest is gone"
        if self.has_table and self.in_step and not state.left:
            for table in (*(self.asked.tables or ("conversations",)), RECORDINGS):
                there = {path for path, file in state.files.items() if file.table == table}
                # A table has no log before its first row.
                if there or (self.root / table / "_delta_log").exists():
                    shown = pa.table(DeltaTable(self.root / table).get_add_actions())["path"].to_pylist()
                    assert {f"{table}/{path}" for path in shown} == there

    # These helpers serve the rules.

    def _sync(self, asked: Selection, lag: int, keep: int | None) -> SyncResult:
        if keep is not None:
            self.keep = keep
        settings_ = settings_for(
            self.source,
            page_size=self.settings.page_size,
            target_part_bytes=self.settings.target_part_bytes,
            lag_seconds=lag,
        )
        asked = msgspec.structs.replace(asked, since=self._since(asked.since))
        synced: SyncResult = self._run(lambda: sync(self.root, asked, self._context(settings_), keep_generations=keep))
        return synced

    def _run(self, job: Callable[[], Any], *, writes: bool = True) -> Any:
        """Runs a command, and notes which files older manifests need that the new one may not.

        `writes` says that it brings the table into step, if it ends by itself.
        """
        before = self._live() if self.coverage else set()
        self.in_step = self.in_step and not writes
        try:
            result = self.portal.call(job)
            self.in_step = self.in_step or writes
            return result
        finally:
            if before and before - self._live():
                self.older.append(before)
            if not self.has_table:
                self.older = self.older[-self.keep :] if self.keep else []

    @property
    def keys(self) -> Keys:
        return keys_with(self.data_key)

    def _context(self, settings_: RunSettings) -> RunContext:
        return RunContext(settings_, Credentials(TOKEN), Quiet(), keys=self.keys)

    def _draw_key(self) -> Key:
        self.keys_drawn += 1
        return data_key(f"d{self.keys_drawn}")

    def _cipher(self) -> Cipher | None:
        if self.data_key is None or self.encryption is None:
            return None
        return Cipher(self.encryption, self.data_key)

    @property
    def _open(self) -> OpenParquet:
        return opened_with(*(() if self.data_key is None else (self.data_key,)))

    def _parts(self, *tables: str) -> Iterator[Path]:
        """Yields all parts that can be read, whether they are live or not."""
        for table in tables or (*TABLES, RECORDINGS):
            for path in (self.root / table).rglob("*.parquet"):
                if path.relative_to(self.root).as_posix() not in self.damaged:
                    yield path

    def _state(self) -> State:
        return self.portal.call(load_state, LocalStore(self.root))

    def _exported(self) -> ExportDirectory:
        return ExportDirectory(self.root, self._open, self.policy)

    def _expected(
        self, rows: Iterable[Row], policy: Policy | Literal["current"] | None = "current"
    ) -> dict[str, Record]:
        """Returns what must be stored of rows: under the policy, and without the values that have expired."""
        rows = list(rows)
        found = records(rows, self.behaviour)
        for record, row in zip(found.values(), rows, strict=True):
            record |= {name: None for name in self.floors if name in record and self._is_below(name, row)}
        return all_protected(found, self.policy if policy == "current" else policy)

    def _is_below(self, name: str, row: Row) -> bool:
        return self._served(row) < self._floor(name)

    def _finish(
        self,
        first: Callable[[], Any],
        again: Callable[[], Any],
        cuts: list[int],
        kills: bool,
        check: Callable[[], bool],
    ) -> None:
        """Runs `first`, and `again` what it has begun, until nothing cuts it short; `check` says whether that is."""
        job = first
        for number in cuts:
            cut = Cut(number, kills)
            self._run(partial(cut.through, job))
            if not cut.was_made:
                return
            job = again if check() else first
        self._run(job)

    def _check_cut(
        self, state: State, followed: Mapping[str, Policy | None], keys: Keys, opens: OpenParquet, other: int
    ) -> None:
        """Checks what holds wherever a command was cut short that changes all parts, and that others are refused until
        it is finished. `followed` are the policies of parts, by fingerprint."""
        found: dict[str, tuple[Record, Policy | None]] = {}
        for file in state.files.values():
            with opens(self.root / file.path) as part:
                read = part.read().to_pylist()
            if file.table == "conversations":
                found |= {record["id"]: (record, followed[file.policy]) for record in read}
        if self.is_settled:
            assert found.keys() == {name for name, row in self.there.items() if _fits(row)}
            for name, (record, policy) in found.items():
                assert record == self._expected([self.there[name]], policy)[name], name
        if (self.root / "_SUCCESS").exists():
            manifest = json.loads((self.root / "_manifest.json").read_bytes())
            named = {file["path"] for table in manifest["tables"].values() for file in table["files"]}
            there = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*.parquet")}
            assert named == {path for path in there if is_part(path)} - state.kept, "_SUCCESS beside other parts"
        if not all(map(state.privacy.is_protected, state.files.values())):
            before = without_lock(snapshot(self.root))
            context = RunContext(self.settings, Credentials(TOKEN), Quiet(), keys=keys)
            jobs: list[Callable[[], Any]] = [
                lambda: compact(self.root, target_bytes=1, memory_bytes=1 << 28, observer=Quiet(), keys=keys),
                lambda: erase(self.root, Wish(ids=("c0",)), keys, Quiet(), now=self.source.now),
                lambda: sync(self.root, Selection(), context),
            ]
            with pytest.raises(ProtectionError):
                self.portal.call(jobs[other % len(jobs)])
            assert without_lock(snapshot(self.root)) == before
            verified = self.portal.call(partial(verify, self.root, now=self.source.now, keys=keys))
            assert not {problem.file for problem in verified.problems} & state.files.keys()

    def _insert(self, created_at: Instant, **fields: object) -> None:
        self.source.insert(created_at, user_id=f"u{len(self.source.rows) % 7}", **fields)

    def _shown(self) -> dict[str, Row]:
        """Returns the rows of the source that an export may have."""
        return {
            name: row
            for name, row in self.source.rows.items()
            if name not in self.erased and row.fields["user_id"] not in self.strangers
        }

    def _since(self, since: Instant | None) -> Instant | None:
        """Returns a beginning that is not refused, because everything before it has expired."""
        return None if since is not None and since < self._floor() else since

    def _floor(self, name: str = "conversations") -> Instant:
        return self.floors.get(name, BEGINNING)

    def _note_floor(self) -> None:
        """Notes what has expired by now."""
        floors = dict(self._state().privacy.floors)
        assert all(floors[name] >= floor for name, floor in self.floors.items())
        self.floors = floors
        if floors:
            below = Coverage([Interval(BEGINNING, floor)] if (floor := self._floor()) > BEGINNING else ())
            self.coverage -= below
            self._forget({name for name, row in self.there.items() if _holds(below, self._served(row))})

    def _check_age(self) -> None:
        """Checks that a run that has read leaves nothing that is too old."""
        if self.has_table and not self.in_step:
            return
        for name, days in self.ages.items():
            oldest = self.source.now - days * DAY - PATIENCE
            # A row in quarantine may have none of the field.
            rows = [row for row in self.there.values() if name == "conversations" or _fits(row)]
            assert not any(self._floor(name) <= self._served(row) < oldest for row in rows), name

    def _forget(self, gone: set[str]) -> None:
        """Notes that rows are gone for good, from the files that older manifests name also."""
        self.there = {name: row for name, row in self.there.items() if name not in gone}
        self.recorded = {name: status for name, status in self.recorded.items() if name not in gone}
        self.doubtful -= gone
        live = self._live()
        self.older = [files & live | {one for one in files if (self.root / one).exists()} for files in self.older]

    def _check_nobody_is_back(self) -> None:
        """Checks that no file has a row of somebody who was erased, or that has expired, whether it is live or not."""
        if not (self.erased or self.strangers or self.floors):
            return
        for path in self._parts("conversations"):
            fields = sorted(self.floors.keys() - {"conversations"})
            found = self._open(path).read(["id", "created_at", *fields])
            assert not self.erased & {*found["id"].to_pylist()}, path
            times = [instant_of(moment) for moment in found["created_at"].to_pylist()]
            assert min(times) >= self._floor(), path
            for name in fields:
                values = zip(times, found[name].to_pylist(), strict=True)
                assert not [value for at, value in values if value is not None and at < self._floor(name)], path
        for path in self._parts("turns"):
            assert not self.erased & {*self._open(path).read(["conversation_id"])[0].to_pylist()}, path
        assert not self.erased & {line["id"] for line in self._exported().quarantined()}

    def _check_private(self, state: State) -> None:
        """Checks that all is as the policy and the encryption want it, and that nobody reads a part without a key."""
        privacy = state.privacy
        assert all(map(privacy.is_protected, state.files.values()))
        assert privacy.key_name == ("" if self.data_key is None else self.data_key.name)
        assert (None if privacy.policy is None else privacy.policy.rules) == (self.policy and self.policy.rules)
        for path in self._parts():
            if self.data_key is not None:
                check_closed(path)
            with self._open(path) as part:
                if self.policy is not None and "user_id" in part.schema_arrow.names:
                    assert all(one.startswith("k1.") for one in part.read(["user_id"])[0].to_pylist()), path

    def _is_put_aside(self, text: str | None, row: Row) -> bool:
        """Returns whether a line of the quarantine is this row's. A policy withholds the row itself, not its times."""
        if text is None or _fits(row):
            return False
        shown = json.loads(text)
        if self.policy is not None:
            assert shown.keys() == {"created_at", "updated_at", "withheld", "tags"}
            return parse_timestamp(shown["updated_at"]) == self._served_change(row)
        return bool(shown.get("summary") == (None if self._is_below("summary", row) else row.fields["summary"]))

    def _quarantined(self) -> set[str]:
        """Returns the lines of the quarantine."""
        lines = self._exported().quarantined()
        for line in lines:
            # These may expire, which makes no new doubt.
            row = json.loads(line["row"])
            kept = {name: value for name, value in row.items() if name not in ("conversation", "summary")}
            line["row"] = json.dumps(kept, sort_keys=True)
        return {json.dumps(line, sort_keys=True) for line in lines}

    def _recordings(self) -> dict[str, dict[str, Any]]:
        return self._exported().recording_rows()

    def _live(self) -> set[str]:
        exported = self._exported()
        return {file["path"] for file in [*exported.parts, *exported.manifest["quarantine"]["files"]]}

    def _note_read(self) -> None:
        """Notes that what was not covered has been read."""
        if not (self.root / "_manifest.json").exists():
            return
        covered = Coverage(Interval(*interval) for interval in self._exported().coverage)
        self._note_floor()
        assert not self.coverage - covered
        fresh = covered - self.coverage
        self.there |= {name: row for name, row in self._shown().items() if _holds(fresh, self._served(row))}
        self.coverage = covered

    def _note_sync(self, synced: SyncResult) -> None:
        assert synced.summary.state != "incomplete"
        self._note_floor()
        self._check_age()
        had = self.coverage
        then = dict(self.there)
        before = {name for name, row in then.items() if _fits(row)}
        self._note_read()
        exported = self._exported()
        ((_, end),) = exported.coverage
        assert parse_timestamp(exported.manifest["updates_since"]) > self.source.now - PATIENCE
        for identity, row in self._shown().items():
            created_at = self._served(row)
            if not _holds(had, created_at):
                continue
            known = self.there.get(identity)
            is_promised = known is None or known.updated_at != row.updated_at
            was_open = known is not None and _fits(known) and known.fields["status"] in OPEN_STATUSES
            if is_promised or (was_open and created_at >= end - OPEN_FOR):
                self.there[identity] = row
            elif known is not row:
                self.doubtful.add(identity)
        after = {name for name, row in self.there.items() if _fits(row)}
        updated = sum(self.there[name] is not then[name] for name in before & after)
        if not self.doubtful:
            assert (synced.updated, synced.inserted) == (updated, len(after - before)), synced
            assert synced.removed == len(before - after)

    def _windows(self) -> list[Interval]:
        if not self.coverage:
            return []
        state = self._state()
        return [*(file.window for file in state.files.values()), *self.coverage]

    def _shows_change(self, known: Row, row: Row) -> bool:
        """Returns whether `updated_at`, as it is served, tells two rows apart."""
        return self._served_change(known) != self._served_change(row)

    def _served_change(self, row: Row) -> Instant:
        return served_instant(row.updated_at, self.behaviour.precision, self.behaviour.rounding)

    def _served(self, row: Row) -> Instant:
        return served_instant(row.created_at, self.behaviour.precision, self.behaviour.rounding)

    def _one_of(self, things: list[str], which: int) -> str | None:
        return things[which % len(things)] if things else None


def test_an_encrypted_quarantine_is_what_the_model_is() -> None:
    machine = Sequences()
    try:
        machine.begin(
            behaviour=Behaviour(),
            partition_by="day",
            page_size=1000,
            part_bytes=1 << 28,
            since=None,
            rows=9,
            seed=1,
            by_sync=True,
            tables=None,
            table_kind=None,
            policy=None,
            encrypted="uniform",
        )
        for which in range(9):
            machine.at_source_a_row_changes(which=which, status="completed", duration="a while")
        machine.sync(lag=0, keep=None, earlier=False)
        assert machine._exported().quarantined()
        machine.is_what_the_model_is()
    finally:
        machine.teardown()


def _fits(row: Row) -> bool:
    return not isinstance(row.fields["duration"], str)


def _holds(coverage: Coverage, instant: Instant) -> bool:
    return any(instant in interval for interval in coverage)


Sequences.TestCase.settings = settings(
    max_examples=size_of(2, 10, "EXPORTER_SEQUENCES"),
    stateful_step_count=size_of(18, 25),
    # Shrinking takes minutes, so that only longer runs than the everyday one do it.
    phases=list(Phase) if "EXPORTER_SEQUENCES" in os.environ else [Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
TestSequences = Sequences.TestCase


@pytest.fixture(autouse=True)
def _checkpoints_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_LONGEST_TAIL", 2)
    monkeypatch.setattr(head, "_LEAST_COMMITS", 3)
    monkeypatch.setattr(head, "_LEAST_SHARE", 1_000)
