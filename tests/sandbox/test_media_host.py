import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from exporter.contract import DAY, HOUR, SECOND, Instant, parse_timestamp
from exporter.sandbox import (
    ORGANIZATION,
    PERSONAL_TOKEN,
    RECORDINGS_HOST,
    TOKEN_NOSENSITIVE,
    Behaviour,
    MediaBehaviour,
    MediaHost,
    MediaRequest,
    Row,
    make_conversations,
    serve,
)

pytestmark = pytest.mark.anyio

SINCE = parse_timestamp("2026-02-10")
ROWS = make_conversations(60, SINCE, SINCE + DAY)
NOW = SINCE + DAY


def at(now: Instant) -> Callable[[], Instant]:
    return lambda: now


def a_call(identity: str = "a", **details: object) -> Row:
    recording = {"recording_url": f"{RECORDINGS_HOST}/{identity}.mp3", "duration": 30, **details}
    return Row(SINCE, fields={"id": identity, "status": "completed", "recording_details": recording})


async def link_of(get: Any, sandbox: Any, identity: str = "a") -> str:
    url = (await get(sandbox, identity)).json["recording_details"]["recording_url"]
    assert isinstance(url, str)
    return url


async def status_of(client: aiohttp.ClientSession, url: str, **headers: str) -> int:
    async with client.get(url, headers=headers, allow_redirects=False) as response:
        return response.status


async def test_calls_have_a_recording_in_the_list_and_by_id_and_what_is_written_has_none(
    get: Any, client: aiohttp.ClientSession
) -> None:
    async with serve(ROWS, media=MediaBehaviour()) as sandbox, serve(ROWS) as without:
        assert sandbox.media is not None and without.media is None
        listed, dead = (await get(sandbox, limit=1000)).json, (await get(without, limit=1000)).json
        assert [row | {"recording_details": None} for row in listed] == [
            row | {"recording_details": None} for row in dead
        ]
        for row, before in zip(listed, dead, strict=True):
            details = row["recording_details"]
            assert (details is None) == (before["recording_details"] is None)
            assert details is None or row["channel"] in ("telephone", "webrtc")
            if details is None:
                continue
            assert before["recording_details"]["recording_url"].startswith(RECORDINGS_HOST)
            assert details.keys() == {"recording_url", "format", "duration"}
            assert (details["format"], details["duration"]) == ("wav", row["duration"])
            for url in (details["recording_url"], await link_of(get, sandbox, row["id"])):
                assert url.startswith(sandbox.media.url)
                async with client.get(url) as response:
                    assert response.content_type == "audio/wav"
                    assert await response.read() == sandbox.media.content(row["id"])
        assert sandbox.media.count == 2 * sum(row["recording_details"] is not None for row in listed)
        assert sandbox.media.bytes_sent == sum(2 * len(sandbox.media.content(id_)) for id_ in sandbox.media.attempts)


async def test_links_are_signed_whenever_they_are_read_and_their_path_stays(get: Any) -> None:
    async with serve([a_call()], media=MediaBehaviour()) as sandbox:
        first, second = await link_of(get, sandbox), (await get(sandbox)).json[0]["recording_details"]["recording_url"]
        assert first != second
        assert first.partition("?")[0] == second.partition("?")[0]


async def test_a_signature_in_the_path_differs_at_every_read(get: Any, client: aiohttp.ClientSession) -> None:
    async with serve([a_call(), a_call("b")], media=MediaBehaviour(dialect="path")) as sandbox:
        first, second = await link_of(get, sandbox), await link_of(get, sandbox)
        assert first != second
        assert sandbox.media is not None
        for url in (first, second):
            assert url.startswith(f"{sandbox.media.url}/signed/") and url.endswith("/a/a.wav")
            assert await status_of(client, url) == 200
        for wrong in (
            url.replace("/a/a", "/b/b"),
            url.replace("/signed/", "/signed/0"),
            f"{sandbox.media.url}/a/a.wav",
        ):
            assert await status_of(client, wrong) == 403


async def test_a_link_dies_and_another_one_lives(get: Any, client: aiohttp.ClientSession) -> None:
    now = NOW
    async with serve([a_call()], media=MediaBehaviour(lifetime_seconds=60), clock=lambda: now) as sandbox:
        url = await link_of(get, sandbox)
        now += 59 * SECOND
        assert await status_of(client, url) == 200
        now += SECOND
        async with client.get(url) as response:
            assert (response.status, response.content_type) == (403, "application/xml")
            assert "<Code>AccessDenied</Code>" in await response.text()
        assert await status_of(client, await link_of(get, sandbox)) == 200


async def test_a_link_that_is_not_this_hosts_is_refused(get: Any, client: aiohttp.ClientSession) -> None:
    async with serve([a_call(), a_call("b")], media=MediaBehaviour()) as sandbox:
        url = await link_of(get, sandbox)
        for wrong in (url.partition("?")[0], url + "0", url.replace("/a/a.wav", "/b/b.wav")):
            async with client.get(wrong) as response:
                assert response.status == 403
                assert "<Code>SignatureDoesNotMatch</Code>" in await response.text()
        assert sandbox.media is not None and not sandbox.media.attempts


async def test_details_name_the_end_of_a_link_in_their_dialect(get: Any) -> None:
    async with serve([a_call(expires_at="stale")], media=MediaBehaviour(), clock=at(NOW)) as sandbox:
        assert sandbox.media is not None
        assert "expires_at" not in (await get(sandbox, "a")).json["recording_details"]
        sandbox.media.behaviour = MediaBehaviour(dialect="details", lifetime_seconds=90)
        assert (await get(sandbox, "a")).json["recording_details"]["expires_at"] == "2026-02-11T00:01:30Z"


async def test_a_recording_appears_late_while_its_row_stands_still(get: Any) -> None:
    now = SINCE + 30 * SECOND
    async with serve([a_call()], media=MediaBehaviour(late_seconds=120), clock=lambda: now) as sandbox:
        for past, is_there in ((0, False), (119, False), (120, True)):
            now = SINCE + (30 + past) * SECOND
            listed, one = (await get(sandbox)).json[0], (await get(sandbox, "a")).json
            assert [row["recording_details"] is not None for row in (listed, one)] == [is_there, is_there]
            assert listed["updated_at"] == one["updated_at"] == "2026-02-10T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("shape", "early"),
    [("plain", None), ("list", None), ("processing", {"status": "processing"}), ("null-url", {"recording_url": None})],
)
async def test_details_come_in_other_shapes(get: Any, shape: Any, early: object) -> None:
    now = SINCE + 30 * SECOND
    media = MediaBehaviour(late_seconds=120, details_shape=shape)
    async with serve([a_call()], media=media, clock=lambda: now) as sandbox:
        assert (await get(sandbox, "a")).json["recording_details"] == early
        now += 120 * SECOND
        details = (await get(sandbox)).json[0]["recording_details"]
        if shape == "list":
            (details,) = details
        assert details.keys() == {"recording_url", "format", "duration"}


@pytest.mark.parametrize("details", ["kept", "null", "absent"])
@pytest.mark.parametrize("status", ["404", "410"])
async def test_retention_deletes_and_the_details_stay_or_go(
    get: Any, client: aiohttp.ClientSession, status: Any, details: Any
) -> None:
    now = SINCE + HOUR - 1
    media = MediaBehaviour(retention_seconds=3600, deleted=status, deleted_details=details)
    async with serve([a_call()], media=media, clock=lambda: now) as sandbox:
        url = await link_of(get, sandbox)
        assert await status_of(client, url) == 200
        now += 1
        assert await status_of(client, url) == int(status)
        row = (await get(sandbox, "a")).json
        assert (await get(sandbox)).json[0].keys() == row.keys()
        if details == "kept":
            assert await status_of(client, row["recording_details"]["recording_url"]) == int(status)
        else:
            assert row.get("recording_details", "absent") == (None if details == "null" else "absent")


async def test_a_share_of_the_calls_has_a_recording_always_the_same_ones(get: Any) -> None:
    async def recorded(**switches: Any) -> set[str]:
        async with serve(ROWS, media=MediaBehaviour(**switches)) as sandbox:
            return {row["id"] for row in (await get(sandbox, limit=1000)).json if row["recording_details"]}

    every, half = await recorded(), await recorded(share=0.5)
    assert half < every
    assert 0.3 < len(half) / len(every) < 0.7
    assert await recorded(share=0.5) == half != await recorded(share=0.5, seed=1)
    assert await recorded(share=0) == set()


async def test_recordings_have_the_size_and_the_number_that_are_asked_for(
    get: Any, client: aiohttp.ClientSession
) -> None:
    rows = [a_call(str(number)) for number in range(20)]
    async with serve(rows, media=MediaBehaviour(bytes_each=700_001, distinct=3)) as sandbox:
        assert sandbox.media is not None
        bodies = set()
        for number in range(20):
            async with client.get(await link_of(get, sandbox, str(number))) as response:
                bodies.add(await response.read())
        assert {len(body) for body in bodies} == {700_001}
        assert len(bodies) == 3


async def test_faults_meet_the_same_conversations_in_each_run_and_about_their_shares() -> None:
    faults: Any = {"cut": 0.2, "html": 0.1}
    one, same, other = (MediaHost(MediaBehaviour(faults=faults, seed=seed)) for seed in (0, 0, 1))
    met = [one.fault_of(str(number)) for number in range(2000)]
    assert met == [same.fault_of(str(number)) for number in range(2000)]
    assert met != [other.fault_of(str(number)) for number in range(2000)]
    assert 340 < met.count("cut") < 460 and 150 < met.count("html") < 250 and met.count(None) > 1300
    one.pinned = {"7": "gone", "8": None}
    assert (one.fault_of("7"), one.fault_of("8")) == ("gone", None)
    assert MediaHost(MediaBehaviour(faults={"gone": 1})).fault_of("7") == "gone"


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ({"Range": "bytes=100-"}, 206, slice(100, None)),
        ({"Range": "bytes=0-9"}, 206, slice(0, 10)),
        ({"Range": "bytes=-7"}, 206, slice(-7, None)),
        ({"Range": "bytes=100-99999999"}, 206, slice(100, None)),
        ({"Range": "bytes=0-"}, 206, slice(None)),
        ({}, 200, slice(None)),
        ({"If-Range": "TAG"}, 200, slice(None)),
        ({"Range": "bytes=99999999-"}, 416, None),
        ({"Range": "lines=1-2"}, 200, slice(None)),
        ({"Range": "bytes=1-2,5-6"}, 200, slice(None)),
        ({"Range": "bytes=100-", "If-Range": "TAG"}, 206, slice(100, None)),
        ({"Range": "bytes=100-", "If-Range": '"other"'}, 200, slice(None)),
        ({"Range": "bytes=100-", "If-Range": "Tue, 10 Feb 2026 00:00:00 GMT"}, 200, slice(None)),
    ],
)
async def test_ranges(get: Any, client: aiohttp.ClientSession, asked: dict[str, str], status: int, part: Any) -> None:
    async with serve([a_call()], media=MediaBehaviour()) as sandbox:
        assert sandbox.media is not None
        url = await link_of(get, sandbox)
        async with client.get(url) as response:
            tag, whole = response.headers["ETag"], await response.read()
            assert response.headers["Accept-Ranges"] == "bytes"
        async with client.get(
            url, headers={name: text.replace("TAG", tag) for name, text in asked.items()}
        ) as response:
            assert response.status == status
            body, told = await response.read(), response.headers.get("Content-Range")
        if part is None:
            assert told == f"bytes */{len(whole)}"
            return
        start, end, _ = part.indices(len(whole))
        assert body == whole[start:end]
        assert told == (f"bytes {start}-{end - 1}/{len(whole)}" if status == 206 else None)
        assert response.headers["ETag"] == tag


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ak_sandbox"},
        {"Cookie": "a=b"},
        {"X-Anyreach-Org": ORGANIZATION},
        {"Referer": f"https://api.example/?token={PERSONAL_TOKEN}"},
    ],
)
async def test_a_request_with_a_credential_of_the_api_is_refused_and_counted(
    get: Any, client: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    async with serve([a_call()], media=MediaBehaviour()) as sandbox:
        assert sandbox.media is not None
        url = await link_of(get, sandbox)
        assert await status_of(client, url, **headers) == 400
        assert await status_of(client, f"{url}&token={PERSONAL_TOKEN}") == 400
        assert await status_of(client, url) == 200
        assert (sandbox.media.leaks, sandbox.media.count) == (2, 3)


async def test_requests_are_kept_with_their_headers_and_told_of_before_they_are_answered(
    get: Any, client: aiohttp.ClientSession
) -> None:
    async with serve([a_call()], media=MediaBehaviour()) as sandbox:
        told: list[MediaRequest] = []
        assert sandbox.media is not None
        sandbox.media.on_request = told.append
        await status_of(client, await link_of(get, sandbox), **{"X-Seen": "yes"})
        (seen,) = sandbox.media.requests
        assert told == [seen]
        assert (seen.number, seen.identity, seen.path, seen.headers["X-Seen"]) == (1, "a", "/a/a.wav", "yes")
        assert set(seen.query) == {"Expires", "Serial", "Signature"}


async def test_a_host_that_is_down_drops_every_connection(get: Any, client: aiohttp.ClientSession) -> None:
    now = NOW
    media = MediaBehaviour(down_after_seconds=10, down_for_seconds=5)
    async with serve([a_call()], media=media, clock=lambda: now) as sandbox:
        assert sandbox.media is not None
        url = await link_of(get, sandbox)
        for past, is_down in ((9, False), (10, True), (14, True), (15, False)):
            now = NOW + past * SECOND
            if is_down:
                with pytest.raises(aiohttp.ClientError):
                    await status_of(client, url)
            else:
                assert await status_of(client, url) == 200
        sandbox.media.is_down = True
        with pytest.raises(aiohttp.ClientError):
            await status_of(client, url)


async def test_rows_choose_their_path_and_other_urls_are_left_alone(get: Any, client: aiohttp.ClientSession) -> None:
    elsewhere = {"recording_url": "https://elsewhere.example/x.mp3", "more": 1}
    rows = [a_call(more=[1]), Row(SINCE, fields={"id": "b", "recording_details": elsewhere}), Row(SINCE, raw="null")]
    async with serve(rows, media=MediaBehaviour()) as sandbox:
        assert sandbox.media is not None
        assert (await get(sandbox, "b")).json["recording_details"] == elsewhere
        assert (await get(sandbox, "a")).json["recording_details"]["more"] == [1]
        assert b"null" in (await get(sandbox)).body
        first, old = sandbox.media.content("a"), await link_of(get, sandbox)
        sandbox.update("a", NOW, recording_details={"recording_url": f"{RECORDINGS_HOST}/take2.mp3", "duration": 31})
        assert "/a/take2.wav?" in await link_of(get, sandbox)
        assert sandbox.media.content("a") != first
        assert await status_of(client, old) == 404


async def test_an_id_that_no_path_can_hold_is_quoted(get: Any, client: aiohttp.ClientSession) -> None:
    row = Row(SINCE, fields={"id": "ü /?#%", "recording_details": {"recording_url": f"{RECORDINGS_HOST}/n.mp3"}})
    async with serve([row], media=MediaBehaviour()) as sandbox:
        url = (await get(sandbox)).json[0]["recording_details"]["recording_url"]
        assert await status_of(client, url) == 200


async def test_details_are_hidden_as_any_field_is(get: Any) -> None:
    async with serve(
        ROWS[:5], Behaviour(list_omits=("conversation", "recording_details")), media=MediaBehaviour()
    ) as one:
        assert one.media is not None
        row = (await get(one, limit=1)).json[0]
        assert {"conversation", "recording_details"}.isdisjoint(row)
        assert {"conversation", "recording_details"} <= (await get(one, row["id"])).json.keys()
        assert (await get(one, limit=1, fields="id,conversation,recording_details")).json == [{"id": row["id"]}]
        bare = await get(one, row["id"], token=TOKEN_NOSENSITIVE)
        assert {"conversation", "recording_details"}.isdisjoint(bare.json)
    async with serve([a_call()], media=MediaBehaviour()) as sandbox:
        (alone,) = (await get(sandbox, fields="recording_details")).json
        assert alone.keys() == {"recording_details"}
        assert (await get(sandbox, fields="id")).json == [{"id": "a"}]
        assert "recording_details" not in (await get(sandbox, token=TOKEN_NOSENSITIVE)).json[0]


class Resolver(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


async def test_tls_by_the_name_of_a_certificate(get: Any) -> None:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("media.example").configure_cert(ours)
    authority.configure_trust(theirs)
    host = MediaHost(name="media.example", tls=ours)
    async with (
        serve([a_call()], media=host) as sandbox,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver(), ssl=theirs)) as client,
    ):
        url = await link_of(get, sandbox)
        assert url.startswith("https://media.example:")
        assert await status_of(client, url) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status_of(client, url.replace("media.example", "other.example"))


async def test_a_host_runs_without_an_api() -> None:
    host = MediaHost()
    async with host.serve(), aiohttp.ClientSession() as client:
        assert await status_of(client, f"{host.url}/a/a.wav") == 403
        async with client.head(f"{host.url}/a/a.wav") as response:
            assert response.status == 405
