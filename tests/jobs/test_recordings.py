"""Every recording is kept once, or named with the reason: fresh, late, changed, behind faults, killed and stopped."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

import exporter
from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR, to_datetime
from exporter.encode.rows import EncodeRow
from exporter.errors import AccessError, DestinationError, ServerFailedError, UsageError
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.jobs.export import export
from exporter.jobs.recordings import recordings
from exporter.jobs.recordings_result import RecordingsResult
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.layout import MANIFEST
from exporter.log.commits import load_state
from exporter.options.recordings import RETRIED_BY_DEFAULT
from exporter.pipeline.reader import Reader
from exporter.pipeline.single import Absence
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import (
    MEDIA_FAULTS,
    RECORDINGS_HOST,
    TOKEN,
    Behaviour,
    MediaBehaviour,
    MediaFault,
    MediaHost,
    Row,
    Sandbox,
    serve,
)
from exporter.sandbox.gate import TOKEN_NOSENSITIVE, Refusal
from exporter.settings import Credentials, RecordingSettings, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.toolkit.recordings import SMALL, call, check_outcomes, media_files, outcomes

pytestmark = pytest.mark.anyio

HASTY = RetryPolicy(known=Patience(attempts=5, seconds=0, throttled_seconds=1), base_seconds=0.001)
HOME = (ip_network("127.0.0.0/8"),)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.run.recordings.POLICY", HASTY)


@dataclass
class World:
    """Holds a source with a media host, and a destination."""

    sandbox: Sandbox
    media: MediaHost
    root: Path

    def context(self, token: str = TOKEN, **options: Any) -> RunContext:
        kept = RecordingSettings(**{"networks": HOME, "most_bytes": 100_000, **options})
        settings = RunSettings(base_url=self.sandbox.url, lag_seconds=0, recordings=kept)
        return RunContext(settings, Credentials(token), Quiet())

    async def export(self, token: str = TOKEN, **asked: Any) -> None:
        await export(self.root, Selection(**asked), self.context(token))
        self.sandbox.requests.clear()

    async def keep(
        self, token: str = TOKEN, *, retried: frozenset[str] = RETRIED_BY_DEFAULT, **options: Any
    ) -> RecordingsResult:
        asked = Selection(**{name: options.pop(name) for name in ("since", "until") if name in options})
        oldest_first = options.pop("oldest_first", False)
        return await recordings(
            self.root, asked, self.context(token, **options), retried=retried, oldest_first=oldest_first
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        return outcomes(self.root)

    def check(self, rows: Sequence[Row]) -> Counter[str]:
        return check_outcomes(self.root, self.media, rows)


@asynccontextmanager
async def world(
    root: Path, rows: Sequence[Row], media: MediaBehaviour = SMALL, behaviour: Behaviour | None = None
) -> AsyncIterator[World]:
    async with serve(rows, behaviour, media=media) as sandbox:
        assert sandbox.media is not None
        yield World(sandbox, sandbox.media, root / "out")


async def test_a_look_that_finds_nothing_left_is_in_the_manifest(tmp_path: Path) -> None:
    async with world(tmp_path, [call(1)]) as source:
        await source.export()
        await source.keep()
        source.sandbox.update("c1", wall_clock(), summary="another")
        await sync(source.root, Selection(), source.context())
        before = (await load_state(LocalStore(source.root))).number
        assert (await source.keep()).requests == 0
        after = (await load_state(LocalStore(source.root))).number
        assert after > before
        assert json.loads((source.root / MANIFEST).read_bytes())["generation"] == after


async def test_all_are_kept_once_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    rows = [call(number) for number in range(40)]
    async with world(tmp_path, [*rows, call(99, recording_details=None)]) as source:
        await source.export()
        done = await source.keep()
        assert (done.exit_status, done.stored, done.recorded, done.left) == (0, 40, 40, 0)
        assert source.check(rows) == {"stored": 40}
        files = media_files(source.root)
        assert (done.files, done.bytes) == (len(files), sum(path.stat().st_size for path in files))
        assert (done.new_stored, done.new_bytes) == (40, 80_000)
        state = await load_state(LocalStore(source.root))
        source.sandbox.requests.clear()
        count = source.media.count
        again = await source.keep()
        assert (again.exit_status, again.requests, again.new_stored, again.stored) == (0, 0, 0, 40)
        assert ([*source.sandbox.requests], source.media.count) == ([], count)
        assert await load_state(LocalStore(source.root)) == state


#: How a recording ends by the fault of its host; all others are stored.
ENDS = {
    **dict.fromkeys(("cut-always", "empty", "gzip", "redirect-loop", "redirect-http"), "failed"),
    **dict.fromkeys(("endless", "oversized", "html", "html-as-audio", "json"), "refused"),
    **dict.fromkeys(("redirect-literal", "redirect-private"), "refused"),
    "gone": "gone",
    "forbidden": "expired",
}


async def test_every_fault_ends_with_the_recording_or_a_reason(tmp_path: Path) -> None:
    # How much of what is too long arrives depends on the moment.
    faults = [fault for fault in MEDIA_FAULTS if fault != "long"]
    rows = [call(number) for number in range(len(faults))]
    async with world(tmp_path, rows) as source:
        source.media.pinned |= {f"c{number}": fault for number, fault in enumerate(faults)}
        await source.export()
        done = await source.keep()
        found = source.check(rows)
        by_fault = {fault: source.rows()[f"c{number}"]["status"] for number, fault in enumerate(faults)}
        expected = {fault: ENDS.get(fault, "stored") for fault in faults}
        assert {fault: ended for fault, ended in by_fault.items() if ended != expected[fault]} == {}
        assert found == Counter(expected.values())
        assert (done.failed, done.refused, done.gone, done.expired) == (
            found["failed"],
            found["refused"],
            found["gone"],
            found["expired"],
        )
        assert done.exit_status == 1
        # What can heal does; what is refused or gone is not asked for again, and its status is told only once.
        source.media.pinned |= {name: None for name, row in source.rows().items() if row["status"] == "failed"}
        source.media.pinned |= {name: None for name, row in source.rows().items() if row["status"] == "expired"}
        again = await source.keep()
        assert (again.exit_status, again.failed, again.expired, again.refused) == (0, 0, 0, found["refused"])
        assert again.new_stored == found["failed"] + found["expired"]
        source.check(rows)
        source.media.pinned |= {name: None for name, row in source.rows().items() if row["status"] == "gone"}
        assert (await source.keep(retried=frozenset({"gone"}))).new_stored == found["gone"]
        assert source.check(rows) == {"stored": len(rows) - found["refused"], "refused": found["refused"]}


@pytest.mark.parametrize("dialect", ["opaque", "expires"])
async def test_links_that_die_in_the_queue_are_asked_for_again(tmp_path: Path, dialect: Any) -> None:
    rows = [call(number) for number in range(30)]
    media = msgspec.structs.replace(SMALL, lifetime_seconds=2, bytes_each=50_000, dialect=dialect)
    async with world(tmp_path, rows, media) as source:
        await source.export()
        done = await source.keep(concurrency=2, bytes_per_second=600_000.0)
        assert (done.exit_status, source.check(rows)) == (0, {"stored": 30})
        by_id = Counter(
            request.path for request in source.sandbox.requests if "/c" in request.path.removeprefix("/core/")
        )
        by_id.pop("/core/conversations", None)
        assert by_id
        assert max(by_id.values()) == 1


async def test_late_ones_are_asked_for_until_they_come(tmp_path: Path) -> None:
    young, old = [call(number, age=HOUR) for number in range(10)], [call(number) for number in range(20, 25)]
    late = [call(number, age=HOUR, recording_details=None) for number in range(10, 15)]
    never = [call(number, recording_details=None) for number in range(30, 33)]
    async with world(tmp_path, [*young, *old, *late, *never]) as source:
        await source.export()
        done = await source.keep()
        assert (done.exit_status, done.stored, done.waiting) == (0, 15, 5)
        for row in late[:3]:
            # Its `updated_at` stands still, so that a sync would not see it.
            details = {"recording_url": f"{RECORDINGS_HOST}/late.wav", "duration": 30}
            source.sandbox.update(str(row.fields["id"]), row.updated_at, recording_details=details)
        source.sandbox.requests.clear()
        again = await source.keep()
        assert (again.exit_status, again.new_stored, again.waiting) == (0, 3, 2)
        assert source.check([*young, *old, *late[:3]]) == {"stored": 18}
        assert (await source.keep(wait_seconds=60)).requests == 0


async def test_only_what_lies_between_the_bounds_or_matches_is_kept(tmp_path: Path) -> None:
    rows = [call(number, channel="telephone" if number % 2 else "webrtc") for number in range(20)]
    async with world(tmp_path, rows) as source:
        await source.export()
        middle = rows[9].created_at
        done = await source.keep(since=middle, filters={"channel": "telephone"})
        assert (done.exit_status, source.check(rows[1:10:2])) == (0, {"stored": 5})
        assert done.left == 15
        done = await source.keep(filters={"channel": "telephone"})
        assert (done.exit_status, source.check(rows[1::2])) == (0, {"stored": 10})
        assert (await source.keep()).new_stored == 10
        assert source.check(rows) == {"stored": 20}
        with pytest.raises(UsageError, match="no recording to keep"):
            await source.keep(since=wall_clock() + DAY)


async def test_an_export_without_the_field_learns_from_the_list(tmp_path: Path) -> None:
    rows = [call(number) for number in range(10)]
    without = [call(number, recording_details=None) for number in range(10, 20)]
    async with world(tmp_path, [*rows, *without]) as source:
        await source.export(fields=("id", "created_at", "updated_at", "status"))
        done = await source.keep()
        assert (done.exit_status, source.check(rows)) == (0, {"stored": 10})
        source.sandbox.requests.clear()
        assert (await source.keep()).requests == 0


async def test_a_list_that_leaves_the_field_out_is_asked_by_id(tmp_path: Path) -> None:
    rows = [call(number) for number in range(10)]
    async with world(tmp_path, rows, behaviour=Behaviour(list_omits=("recording_details",))) as source:
        await source.export(fields=("id", "created_at", "updated_at", "status", "recording_details"))
        done = await source.keep()
        assert (done.exit_status, source.check(rows)) == (0, {"stored": 10})
        assert (await source.keep()).requests == 0


@pytest.mark.parametrize("fields", [None, ("id", "created_at", "updated_at", "status")])
async def test_a_list_that_leaves_the_field_out_of_some_rows_is_asked_by_id(
    fields: tuple[str, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [call(number) for number in range(10)]
    body = Sandbox.body

    def leave_out(sandbox: Sandbox, *asked: Any) -> bytes | Refusal:
        served = body(sandbox, *asked)
        if isinstance(served, Refusal) or asked[-1] is not None:
            return served
        listed = json.loads(served)
        for row in listed[::2]:
            row.pop("recording_details", None)
        return json.dumps(listed).encode()

    async with world(tmp_path, rows) as source:
        await source.export(fields=fields)
        monkeypatch.setattr(Sandbox, "body", leave_out)
        done = await source.keep()
        assert (done.exit_status, source.check(rows)) == (0, {"stored": 10})


async def test_details_in_a_list_are_read_and_others_are_not_called_gone(tmp_path: Path) -> None:
    rows = [call(number) for number in range(4)]
    odd = call(9, recording_details={"audio": {"recording_url": "https://elsewhere.example.com/9.wav"}})
    empty = call(10, recording_details={"recording_url": ""})
    listing = msgspec.structs.replace(SMALL, details_shape="list")
    async with world(tmp_path, [*rows, odd, empty], media=listing) as source:
        await source.export()
        before = (await load_state(LocalStore(source.root))).conversations
        done = await source.keep()
        assert Counter(row["status"] for row in source.rows().values()) == {"stored": 4, "refused": 1}
        assert (done.exit_status, source.rows()["c9"]["reason"]) == (3, "no link")
        await sync(source.root, Selection(), source.context())
        assert (await load_state(LocalStore(source.root))).conversations == before


async def test_a_scope_that_is_lost_on_the_way_ends_no_recording(tmp_path: Path) -> None:
    rows = [call(number) for number in range(10)]
    async with world(tmp_path, rows) as source:
        await source.export()
        for lost_after in range(2, 12):
            source.sandbox.behaviour = Behaviour(page_cap=4, role_changed_after=lost_after)
            with suppress(AccessError):
                await source.keep()
        assert {row["status"] for row in source.rows().values()} <= {"stored"}
        source.sandbox.behaviour = Behaviour()
        await source.keep()
        assert source.check(rows) == {"stored": 10}


async def test_an_api_that_finds_nothing_by_id_ends_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [call(number) for number in range(4)]
    async with world(tmp_path, rows) as source:
        source.media.pinned["c1"] = "expired"
        await source.export()
        with monkeypatch.context() as patch:
            patch.setattr("exporter.sandbox.listing.Listing.get", lambda *_: None)
            await source.keep()
            assert source.check(rows) == {"stored": 3, "expired": 1}
        await source.keep()
        assert source.check(rows) == {"stored": 4}


async def test_a_token_that_sees_no_recording_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path, [call(number) for number in range(5)]) as source:
        await source.export()
        with pytest.raises(AccessError, match="is not shown recording_details"):
            await source.keep(TOKEN_NOSENSITIVE)
        assert not (source.root / "media").exists()


async def test_what_the_source_no_longer_has_is_gone_or_lost(tmp_path: Path) -> None:
    rows = [call(number, age=(1 + number) * DAY) for number in range(10)]
    async with world(tmp_path, rows) as source:
        await source.export()
        source.media.behaviour = msgspec.structs.replace(
            source.media.behaviour, retention_seconds=5 * 86_400, deleted_details="null"
        )
        source.sandbox.delete("c0")
        done = await source.keep(retention_seconds=5 * 86_400)
        assert source.check(rows) == {"stored": 3, "gone": 7}
        assert (done.exit_status, done.lost) == (3, 6)
        assert {row["reason"] for row in source.rows().values()} == {None, "no link", "no conversation"}
        again = await source.keep(retention_seconds=5 * 86_400)
        assert (again.exit_status, again.requests) == (0, 0)


async def test_what_failed_and_is_lost_is_worth_no_other_run(tmp_path: Path) -> None:
    rows = [call(number, age=(1 + number) * DAY) for number in range(4)]
    async with world(tmp_path, rows) as source:
        source.media.pinned["c3"] = "cut-always"
        await source.export()
        done = await source.keep(retention_seconds=3.5 * 86_400)
        assert (done.exit_status, done.failed, done.lost, done.again) == (3, 1, 1, 0)


async def test_a_host_that_is_down_is_given_up(tmp_path: Path) -> None:
    rows = [call(number) for number in range(100)]
    async with world(tmp_path, rows) as source:
        await source.export()
        source.media.is_down = True
        done = await source.keep(concurrency=4)
        assert (done.exit_status, done.stored) == (1, 0)
        assert 24 <= done.failed < 60
        assert (done.failed + done.unreached, done.gave_up != "") == (100, True)
        source.media.is_down = False
        assert (await source.keep()).exit_status == 0
        assert source.check(rows) == {"stored": 100}


async def test_a_conversation_that_does_not_come_by_id_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [call(number) for number in range(5)]
    async with world(tmp_path, rows) as source:
        await source.export()
        source.media.pinned["c3"] = "forbidden"
        conversation = Reader.conversation

        async def fail(reader: Reader, identity: str) -> EncodeRow | Absence:
            if identity == "c3":
                raise ServerFailedError("given up after 10 attempts")
            return await conversation(reader, identity)

        monkeypatch.setattr(Reader, "conversation", fail)
        done = await source.keep()
        assert (done.exit_status, source.check(rows)) == (1, {"stored": 4, "expired": 1})


@pytest.mark.parametrize("count", [2, 60])
async def test_a_forgotten_network_refuses_nothing_for_good(tmp_path: Path, count: int) -> None:
    rows = [call(number) for number in range(count)]
    async with world(tmp_path, rows) as source:
        await source.export()
        done = await source.keep(networks=())
        assert (done.exit_status, done.refused, done.unreached, done.barred) == (3, 0, count, count)
        assert re.search("^127.0.0.1: an address in place of a name, outside .* --allow-network", done.gave_up)
        assert (await source.keep()).exit_status == 0
        assert source.check(rows) == {"stored": count}


async def test_a_trap_among_others_is_refused_for_good(tmp_path: Path) -> None:
    rows = [call(number) for number in range(10)]
    rows[4] = call(4, recording_details={"recording_url": "https://169.254.169.254/latest/meta-data", "duration": 3})
    async with world(tmp_path, rows) as source:
        await source.export()
        done = await source.keep()
        assert (done.exit_status, done.refused, done.barred) == (3, 1, 0)
        assert source.rows()["c4"]["reason"] == "address"
        assert (await source.keep()).exit_status == 0


async def test_one_host_that_is_down_does_not_keep_others_from_being_read(tmp_path: Path) -> None:
    rows = [call(number) for number in range(150)]
    for number in range(0, 150, 2):
        details = {"recording_url": "http://127.0.0.2:1/none.wav", "duration": 3}
        rows[number] = Row(rows[number].created_at, fields={**rows[number].facts(), "recording_details": details})
    async with world(tmp_path, rows) as source:
        await source.export()
        done = await source.keep(concurrency=2)
        assert (done.exit_status, done.stored, done.failed + done.unreached) == (1, 75, 75)
        assert 24 <= done.failed < 60
        assert done.gave_up == "127.0.0.2: the last recordings could not be fetched: attempts"


async def test_links_whose_paths_are_signed_are_followed_once(tmp_path: Path) -> None:
    rows = [call(number) for number in range(5)]
    async with world(tmp_path, rows, msgspec.structs.replace(SMALL, dialect="path")) as source:
        await source.export()
        assert (await source.keep()).stored == 5
        source.sandbox.update("c1", wall_clock(), summary="another")
        await sync(source.root, Selection(), source.context())
        source.media.requests.clear()
        for _ in range(3):
            assert (await source.keep()).exit_status == 0
        # Its conversation came anew, with another path: then it is fetched again, once.
        assert [request.identity for request in source.media.requests] == ["c1"]
        assert source.check(rows) == {"stored": 5}


@pytest.mark.parametrize(("fault", "exit_status"), [("cut-always", 1), ("gone", 0), ("html", 0)])
async def test_what_is_kept_stays_until_its_successor_has_come(
    tmp_path: Path, fault: MediaFault, exit_status: int
) -> None:
    rows = [call(number, age=2 * DAY) for number in range(3)]
    async with world(tmp_path, rows) as source:
        await source.export()
        await source.keep()
        before = source.rows()["c1"]
        details = {"recording_url": f"{RECORDINGS_HOST}/take2.mp3", "duration": 3}
        source.sandbox.update("c1", wall_clock(), recording_details=details)
        await sync(source.root, Selection(), source.context())
        source.media.pinned["c1"] = fault
        assert (await source.keep()).exit_status == exit_status
        assert source.rows()["c1"] == before
        assert (source.root / before["path"]).is_file()
        source.media.pinned["c1"] = None
        done = await source.keep()
        assert (done.exit_status, done.new_stored) == (0, 1 if exit_status else 0)


async def test_a_program_keeps_them_as_the_command_does(tmp_path: Path) -> None:
    rows = [call(number) for number in range(5)]
    async with world(tmp_path, rows) as source:
        await source.export()
        spec = exporter.ExportSpec(
            destination=source.root,
            token=TOKEN,
            base_url=source.sandbox.url,
            recording_filters={"channel": "telephone"},
            allow_network="127.0.0.0/8",
        )
        done = await exporter.recordings(spec, retry="failed", oldest_first=True)
        assert (done.exit_status, source.check(rows)) == (0, {"stored": 5})
        with pytest.raises(UsageError, match="retry 'stored'"):
            await exporter.recordings(spec, retry=["stored"])
        with pytest.raises(UsageError, match="recording_port '0'"):
            exporter.ExportSpec(recording_port="0")


async def test_the_oldest_that_is_left_says_when_it_dies(tmp_path: Path) -> None:
    rows = [call(number, age=(1 + number) * DAY) for number in range(4)]
    async with world(tmp_path, rows) as source:
        source.media.pinned["c2"] = "cut-always"
        await source.export()
        done = await source.keep(retention_seconds=10 * 86_400)
        assert (done.exit_status, done.failed, done.lost) == (1, 1, 0)
        assert done.oldest_left == to_datetime(rows[2].created_at)
        assert done.oldest_dies_at == to_datetime(rows[2].created_at + 10 * DAY)
        shown = (await exporter.status(source.root, recording_retention="10d")).recordings
        assert shown is not None
        assert shown.oldest_dies_at == done.oldest_dies_at
        source.media.pinned["c2"] = None
        again = await source.keep(retention_seconds=10 * 86_400)
        assert (again.exit_status, again.oldest_left, again.oldest_dies_at) == (0, None, None)


async def test_there_must_be_an_export(tmp_path: Path) -> None:
    async with world(tmp_path, []) as source:
        with pytest.raises(DestinationError, match="no export here"):
            await source.keep()
        assert not source.root.exists()


async def test_an_export_that_keeps_recordings_goes_on_to_keep_them(tmp_path: Path) -> None:
    rows = [call(number) for number in range(10)]
    async with world(tmp_path, rows) as source:
        context = source.context()
        first = await export(source.root, Selection(recordings=True), context)
        assert (first.exit_status, first.recordings and first.recordings.new_stored) == (0, 10)
        assert source.check(rows) == {"stored": 10}
        source.sandbox.requests.clear()
        again = await export(source.root, Selection(), context)
        assert (again.requests, again.changed, again.recordings and again.recordings.stored) == (0, False, 10)
        new = [call(number) for number in range(20, 25)]
        for row in new:
            source.sandbox.insert(Row(row.created_at, wall_clock(), row.fields))
        synced = await sync(source.root, Selection(), context)
        assert (synced.exit_status, synced.summary.recordings and synced.summary.recordings.new_stored) == (0, 5)
        assert source.check([*rows, *new]) == {"stored": 15}
        found = await status(source.root)
        assert found.recordings is not None
        assert (found.recordings.stored, found.recordings.left) == (15, 0)


async def test_a_host_that_is_down_unseals_nothing(tmp_path: Path) -> None:
    rows = [call(number) for number in range(5)]
    async with world(tmp_path, rows) as source:
        source.media.is_down = True
        done = await export(source.root, Selection(recordings=True), source.context())
        assert (done.state, done.exit_status) == ("complete", 1)
        assert (source.root / "_SUCCESS").exists()
        assert (await status(source.root)).state == "complete"
        source.media.is_down = False
        # What has failed is tried again, though there is no conversation to read.
        again = await export(source.root, Selection(), source.context())
        assert (again.exit_status, source.check(rows)) == (0, {"stored": 5})
        ended = await export(source.root, Selection(recordings=False), source.context())
        assert ended.recordings is None
        assert (await export(source.root, Selection(), source.context())).recordings is None
