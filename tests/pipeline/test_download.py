"""Recordings from the stand-in's media host, with every fault that it knows: the right bytes, or a reason."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from io import BytesIO
from ipaddress import ip_network
from pathlib import Path

import anyio
import msgspec
import pytest

from exporter.clock import wall_clock
from exporter.contract import DAY, HOUR, SECOND
from exporter.errors import StoreError
from exporter.fetch.media.address import AddressRule
from exporter.fetch.media.client import MediaClient
from exporter.fetch.media.link import Link, link_of
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.fetch.wire.line import Limits
from exporter.keys import Key
from exporter.media_cipher import CHUNK_BYTES, unseal
from exporter.pipeline import download
from exporter.pipeline.download import Downloader, Gone, Result, Wanted
from exporter.sandbox import MEDIA_FAULTS, MediaBehaviour, MediaFault, MediaHost
from exporter.sandbox.recordings import Recording
from exporter.store.local.store import LocalStore
from tests.toolkit.peer import self_signed

RULE = AddressRule(networks=(ip_network("127.0.0.0/8"),))
HASTY = RetryPolicy(known=Patience(attempts=5, seconds=0, throttled_seconds=1), base_seconds=0.001)
LIMITS = Limits(connect_seconds=2, stall_seconds=0.5, total_seconds=10)
BEHAVIOUR = MediaBehaviour(bytes_each=20_000, retry_after_seconds=0, slow_rate=200_000)
MAX_BYTES = 1_000_000

#: How each fault ends; None: stored.
ENDS: dict[MediaFault | None, tuple[str, str] | None] = dict.fromkeys((None, *MEDIA_FAULTS)) | {
    "cut-always": ("failed", "short"),
    "empty": ("failed", "empty"),
    "endless": ("refused", "too large"),
    "oversized": ("refused", "too large"),
    "gzip": ("failed", "encoding"),
    "html": ("refused", "type text/html"),
    "html-as-audio": ("refused", "type text/html"),
    "json": ("refused", "type application/json"),
    "gone": ("gone", "status 410"),
    "forbidden": ("expired", "status 403"),
    "redirect-http": ("refused", "address"),
    "redirect-literal": ("refused", "address"),
    "redirect-private": ("refused", "address"),
    "redirect-loop": ("failed", "redirects"),
}
RENEWED = {"expired", "early-404", "html", "html-as-audio", "json", "gone", "forbidden"}

pytestmark = pytest.mark.anyio


class World:
    """Holds a media host, and a downloader that stages into a real directory."""

    def __init__(self, host: MediaHost, client: MediaClient, store: LocalStore) -> None:
        self.host = host
        self.store = store
        self.renewals: list[str] = []
        self.renewed: Callable[[str], Awaitable[Link | Gone | None]] = self.link
        self.downloader = Downloader(client, store, "r1", self.renew, max_bytes=MAX_BYTES, policy=HASTY)

    async def link(self, identity: str) -> Link | None:
        """Returns a link that is signed now."""
        recording = Recording(identity, "take", wall_clock() - 2 * DAY, wall_clock() - 2 * DAY, {"duration": 4})
        return link_of(json.loads(self.host.details(recording) or b"null"))

    async def renew(self, identity: str) -> Link | Gone | None:
        self.renewals.append(identity)
        return await self.renewed(identity)

    async def wanted(self, identity: str, age: int = 2 * DAY, link: Link | None = None) -> Wanted:
        link = link or await self.link(identity)
        assert link is not None
        return Wanted(identity, wall_clock() - age, link)

    async def fetch(self, identity: str = "c-1", age: int = 2 * DAY, link: Link | None = None) -> Result:
        return await self.downloader.fetch(await self.wanted(identity, age, link))

    async def staged(self) -> list[str]:
        return await self.store.list("_exporter/staging")


@asynccontextmanager
async def world(root: Path, behaviour: MediaBehaviour = BEHAVIOUR, *, has_tls: bool = False) -> AsyncIterator[World]:
    store = LocalStore(root)
    await store.prepare()
    tls, trusted = self_signed(root.parent) if has_tls else (None, None)
    host = MediaHost(behaviour, tls=tls)
    async with host.serve(), MediaClient(RULE, limits=LIMITS, ca_file=trusted) as client:
        yield World(host, client, store)


def check_stored(result: Result, content: bytes) -> None:
    assert (result.status, result.reason) == ("stored", None)
    assert result.staged_path is not None
    assert result.staged_path.read_bytes() == content
    assert (result.bytes, result.sha256) == (len(content), sha256(content).hexdigest())


@pytest.mark.parametrize("fault", [fault for fault in ENDS if fault != "long"], ids=str)
async def test_every_fault_ends_with_the_right_bytes_or_a_reason(fault: MediaFault | None, tmp_path: Path) -> None:
    # Only from TLS, plain HTTP is a way down.
    async with world(tmp_path / "export", has_tls=fault == "redirect-http") as there:
        there.host.pinned["c-1"] = fault
        result = await there.fetch()
        end = ENDS[fault]
        if end is None:
            check_stored(result, there.host.content("c-1"))
            assert result.extension == ("bin" if fault == "unknown-type" else "wav")
            assert len(await there.staged()) == 1
        else:
            assert (result.status, result.reason) == end
            assert result.staged_path is None
            assert not await there.staged()
        assert len(there.renewals) == (fault in RENEWED) == result.is_renewed
        assert 1 <= result.attempts <= 5
        assert there.host.leaks == 0
        assert "Signature" not in repr(result)
        assert result.link.url.partition("?")[2] not in repr(result)


@pytest.mark.parametrize("fault", [fault for fault, end in ENDS.items() if end is None and fault != "long"], ids=str)
async def test_what_comes_in_any_way_is_encrypted_whole(fault: MediaFault | None, tmp_path: Path) -> None:
    key, served = Key("d1", bytes(range(32))), msgspec.structs.replace(BEHAVIOUR, bytes_each=3 * CHUNK_BYTES)
    async with world(tmp_path / "export", served) as there:
        there.downloader.key = key
        there.host.pinned["c-1"] = fault
        result = await there.fetch()
        content = there.host.content("c-1")
        assert result.staged_path is not None
        stored = result.staged_path.read_bytes()
        assert (result.bytes, result.sha256) == (len(stored), sha256(stored).hexdigest())
        assert result.extension.endswith(".enc")
        assert content[1_000:1_032] not in stored
        assert b"".join(unseal(BytesIO(stored), "x", "calls", key)) == content
        assert len(await there.staged()) == 1


async def test_bytes_beyond_the_end_are_never_taken(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.host.pinned["c-1"] = "long"
        result = await there.fetch()
        # Whether they are seen at all depends on how they are sent.
        if result.status == "stored":
            check_stored(result, there.host.content("c-1"))
        else:
            assert (result.status, result.reason in ("short", "attempts")) == ("failed", True)


async def test_a_part_that_does_not_say_which_is_thrown_away(tmp_path: Path) -> None:
    # It is too long for the end of the connection to be seen before any of its bytes.
    async with world(tmp_path, MediaBehaviour(bytes_each=MAX_BYTES)) as there:
        there.host.pinned["c-1"] = "no-content-range"
        check_stored(await there.fetch(), there.host.content("c-1"))
        assert ["Range" in request.headers for request in there.host.requests] == [False, True, False]


async def test_many_downloads_at_once_keep_their_bytes_apart(tmp_path: Path) -> None:
    faults: list[MediaFault | None] = [None, "cut", "weak", "changed", "norange", "416", "429", "drop", "html", "503"]
    results: dict[str, Result] = {}
    async with world(tmp_path) as there:

        async def fetch(identity: str) -> None:
            results[identity] = await there.fetch(identity)

        async with anyio.create_task_group() as group:
            for number in range(60):
                there.host.pinned[f"c-{number}"] = faults[number % len(faults)]
                group.start_soon(fetch, f"c-{number}")
        for identity, result in results.items():
            if there.host.pinned[identity] == "html":
                assert result.status == "refused"
            else:
                check_stored(result, there.host.content(identity))
        assert len(await there.staged()) == 54


async def test_a_404_is_believed_after_a_day(tmp_path: Path) -> None:
    async with world(tmp_path, MediaBehaviour(retention_seconds=0)) as there:
        early = await there.fetch(age=DAY - HOUR)
        late = await there.fetch(age=DAY + HOUR)
        assert (early.status, late.status) == ("failed", "gone")
        assert {early.reason, late.reason} == {"status 404"}
        assert len(there.renewals) == 2


async def test_a_link_that_is_about_to_end_is_asked_for_before_it_is_used(tmp_path: Path) -> None:
    async with world(tmp_path, MediaBehaviour(lifetime_seconds=20)) as there:
        # The fresh one lives no longer, and is used all the same.
        check_stored(await there.fetch(), there.host.content("c-1"))
        assert there.renewals == ["c-1"]
        assert len(there.host.requests) == 1


async def test_a_dead_link_is_asked_for_once(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        alive = await there.link("c-1")
        assert alive is not None
        forged = Link(alive.url.partition("?")[0] + "?Expires=9999999999&Signature=bm9uZQ")
        check_stored(await there.fetch(link=forged), there.host.content("c-1"))

        async def no_better(_: str) -> Link:
            return forged

        there.renewed = no_better
        result = await there.fetch(link=forged)
        assert (result.status, result.reason, result.attempts) == ("expired", "status 403", 2)
        assert there.renewals == ["c-1", "c-1"]


@pytest.mark.parametrize(("is_fresh", "reason"), [(True, "status 403"), (False, "link")])
async def test_a_conversation_without_a_link_any_longer(reason: str, tmp_path: Path, *, is_fresh: bool) -> None:
    async with world(tmp_path, MediaBehaviour(lifetime_seconds=3600 if is_fresh else 1)) as there:
        there.host.pinned["c-1"] = "forbidden"

        async def nothing(_: str) -> None:
            return None

        async def gone(_: str) -> Gone:
            return Gone()

        there.renewed = nothing
        result = await there.fetch()
        assert (result.status, result.reason) == ("expired", reason)
        there.renewed = gone
        result = await there.fetch()
        assert (result.status, result.reason) == ("gone", "no conversation")


@pytest.mark.parametrize("fault", ["gone", "html"])
async def test_nothing_is_final_that_no_fresh_link_has_confirmed(tmp_path: Path, fault: MediaFault) -> None:
    async with world(tmp_path) as there:
        there.host.pinned["c-1"] = fault

        async def nothing(_: str) -> None:
            return None

        there.renewed = nothing
        assert (await there.fetch()).status == "failed"


async def test_what_renewing_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.host.pinned["c-1"] = "html-as-audio"

        async def fails(_: str) -> Link:
            raise StoreError("no API")

        there.renewed = fails
        with pytest.raises(StoreError, match="no API"):
            await there.fetch()
        assert not await there.staged()


async def test_a_cancelled_download_leaves_nothing_behind(tmp_path: Path) -> None:
    async with world(tmp_path, MediaBehaviour(bytes_each=1_000_000, faults={"slow": 1.0}, slow_rate=200_000)) as there:
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(there.fetch, f"c-{number}")
            with anyio.fail_after(60):
                while len(await there.staged()) < 8:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        assert not await there.staged()


@pytest.mark.parametrize(("slow_rate", "end"), [(200, ("failed", "slow")), (200_000, ("stored", None))])
async def test_a_host_that_drips_is_not_waited_for(
    tmp_path: Path, slow_rate: int, end: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.pipeline.test_download.LIMITS", Limits(2, 0.2, 20))
    behaviour = MediaBehaviour(bytes_each=20_000, faults={"slow": 1.0}, slow_rate=slow_rate)
    async with world(tmp_path, behaviour) as there:
        result = await there.fetch()
        assert (result.status, result.reason) == end


async def test_the_reserve_of_the_disk_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, MediaBehaviour(bytes_each=900_000)) as there:
        free, looks = 10**9, 0

        async def free_bytes() -> int:
            nonlocal looks
            looks += 1
            return free

        monkeypatch.setattr(there.store, "free_bytes", free_bytes)
        monkeypatch.setattr(download, "_LOOK_AGAIN_BYTES", 200_000)
        assert (await there.fetch()).status == "stored"
        assert 3 <= looks <= 6
        free = 63_000_000
        with pytest.raises(StoreError, match="kept free"):
            await there.fetch("c-2")
        assert len(await there.staged()) == 1


async def test_a_host_that_is_down_is_left_after_five_attempts(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.host.is_down = True
        result = await there.fetch()
        assert (result.status, result.reason, result.attempts) == ("failed", "attempts", 5)
        there.host.is_down = False
        assert (await there.fetch()).status == "stored"


def test_a_day_is_a_day() -> None:
    assert download._BELIEVED_AFTER == 86_400 * SECOND
