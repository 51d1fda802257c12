"""One download, decided without a network: every rule apart, and all of them against hosts that do anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.fetch.media.media_type import extension_of
from exporter.fetch.media.transfer import Again, Dead, End, Redirect, Step, Take, Transfer, Whole
from tests.toolkit.sizes import size_of

AUDIO = {"Content-Type": "audio/mpeg", "Content-Length": "10", "ETag": '"v1"'}
BODY = b"0123456789"
NOW = 1_780_000_000.0


def transfer(*, is_old: bool = True, max_bytes: int | None = None, renewed: bool = False) -> Transfer:
    made = Transfer(is_old=is_old, max_bytes=max_bytes, chance=Random(1))
    made.is_renewed = renewed
    made.ask()
    return made


def cut_after(count: int, headers: Mapping[str, str] = AUDIO) -> Transfer:
    """Returns a transfer that was cut after this many bytes."""
    made = transfer()
    assert made.judge(200, headers, NOW) == Take(0)
    assert made.take(BODY[:count]) is None
    assert isinstance(made.broke(), Again)
    return made


def partial(start: int, total: object = 10, tag: str = '"v1"') -> dict[str, str]:
    return {"Content-Type": "audio/mpeg", "Content-Range": f"bytes {start}-9/{total}", "ETag": tag}


def test_a_whole_body_is_whole() -> None:
    made = transfer()
    assert made.ask() == {"Accept-Encoding": "identity"}
    assert made.judge(200, AUDIO, NOW) == Take(0)
    assert made.take(BODY) is None
    assert made.ended() == Whole()
    assert (made.received, made.attempts, made.source_etag, made.content_type) == (10, 2, '"v1"', "audio/mpeg")


def test_a_cut_body_goes_on_where_it_was_cut() -> None:
    made = cut_after(4)
    assert made.ask() == {"Accept-Encoding": "identity", "Range": "bytes=4-", "If-Range": '"v1"'}
    assert made.judge(206, partial(4), NOW) == Take(4)
    assert made.take(BODY[4:]) is None
    assert made.ended() == Whole()


@pytest.mark.parametrize("tag", ['W/"v1"', "v1", "", '"a"b"', '"a\r\nHost: b"'])
def test_without_a_strong_tag_a_cut_body_begins_at_the_start(tag: str) -> None:
    made = cut_after(4, AUDIO | {"ETag": tag})
    assert made.received == 0
    assert made.ask() == {"Accept-Encoding": "identity"}


def test_a_whole_answer_to_a_request_for_the_rest_replaces_what_is_there() -> None:
    made = cut_after(4)
    made.ask()
    assert made.judge(200, AUDIO | {"ETag": '"v2"', "Content-Length": "3"}, NOW) == Take(0)
    assert made.take(b"new") is None
    assert made.ended() == Whole()
    assert made.source_etag == '"v2"'


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, partial(3)),
        (206, partial(5)),
        (206, partial(4, total=11)),
        (206, partial(4, tag='"v2"')),
        (206, {"Content-Type": "audio/mpeg", "Content-Range": "bytes 4-9/10"}),
        (206, AUDIO),
        (206, AUDIO | {"Content-Range": "bytes */10"}),
        (206, AUDIO | {"Content-Range": "items 4-9/10"}),
        (416, {}),
    ],
)
def test_a_rest_that_does_not_fit_is_never_taken(status: int, headers: Mapping[str, str]) -> None:
    made = cut_after(4)
    made.ask()
    assert isinstance(made.judge(status, headers, NOW), Again)
    assert made.received == 0
    assert "Range" not in made.ask()


def test_the_size_may_become_known_with_the_rest_or_be_left_out_of_it() -> None:
    made = cut_after(4, {"ETag": '"v1"'})
    made.ask()
    assert isinstance(made.judge(206, partial(4, total="*"), NOW), Again)
    made = cut_after(4, {"ETag": '"v1"'})
    made.ask()
    assert made.judge(206, partial(4), NOW) == Take(4)
    made = cut_after(4)
    made.ask()
    assert made.judge(206, partial(4, total="*"), NOW) == Take(4)


@pytest.mark.parametrize("sent", [BODY[:9], BODY + b"x"])
def test_a_body_of_another_length_than_was_said_is_not_whole(sent: bytes) -> None:
    made = transfer()
    made.judge(200, AUDIO, NOW)
    assert isinstance(made.take(sent) or made.ended(), Again)
    if len(sent) > len(BODY):
        assert made.received == 0  # whose bytes these are is not known


@pytest.mark.parametrize(
    ("status", "is_old", "end"),
    [
        (401, True, End("expired", "status 401")),
        (403, False, End("expired", "status 403")),
        (404, True, End("gone", "status 404")),
        (404, False, End("failed", "status 404")),
        (410, True, End("gone", "status 410")),
        (400, True, End("failed", "status 400")),
    ],
)
def test_a_dead_link_is_asked_for_once(status: int, end: End, *, is_old: bool) -> None:
    assert transfer(is_old=is_old).judge(status, {}, NOW) == Dead(end)
    assert transfer(is_old=is_old, renewed=True).judge(status, {}, NOW) == end


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_five_attempts_are_made(status: int) -> None:
    made = transfer()
    for _ in range(4):
        step = made.judge(status, {}, NOW)
        assert isinstance(step, Again)
        assert not step.is_throttled
        made.ask()
    assert made.judge(status, {}, NOW) == End("failed", f"status {status}")
    assert made.attempts == 5


@pytest.mark.parametrize("received", [0, 4])
def test_breaks_end_after_five_attempts(received: int) -> None:
    made = transfer()
    steps: list[Step] = []
    for _ in range(5):
        if received:
            made.judge(200, AUDIO | {"ETag": ""}, NOW)
            made.take(BODY[:received])
        steps.append(made.broke())
        made.ask()
    assert [type(step) for step in steps[:4]] == [Again] * 4
    assert steps[4] == End("failed", "short" if received else "attempts")


@pytest.mark.parametrize(("status", "headers"), [(429, {"Retry-After": "7"}), (503, {"Retry-After": "7"}), (429, {})])
def test_a_host_that_is_too_busy_slows_everything_down(status: int, headers: Mapping[str, str]) -> None:
    step = transfer().judge(status, headers, NOW)
    assert isinstance(step, Again)
    assert step.is_throttled
    assert step.pause_seconds == 7 or not headers


def test_busy_hosts_are_not_waited_for_without_end() -> None:
    assert transfer().judge(429, {"Retry-After": "3600"}, NOW) == End("failed", "status 429")
    made, count = transfer(), 0
    while isinstance(made.judge(429, {"Retry-After": "0"}, NOW), Again):
        count += 1
    assert 5 < count <= 600


def test_a_busy_host_may_name_the_time_to_come_back() -> None:
    headers = {"Date": "Thu, 28 May 2026 20:26:40 GMT", "Retry-After": "Thu, 28 May 2026 20:26:45 GMT"}
    assert transfer().judge(429, headers, NOW) == Again(5.0, is_throttled=True)


@pytest.mark.parametrize(
    ("content_type", "page"),
    [
        ("text/html; charset=utf-8", "text/html"),
        ("Text/Plain", "text/plain"),
        ("application/json", "application/json"),
        ("application/xml", "application/xml"),
        ("application/problem+json", "application/problem+json"),
        ("application/xhtml+xml", "application/xhtml+xml"),
        ("application/vnd.apple.mpegurl", "application/vnd.apple.mpegurl"),
    ],
)
def test_a_page_is_told_by_its_type(content_type: str, page: str) -> None:
    headers = {"Content-Type": content_type}
    assert transfer().judge(200, headers, NOW) == Dead(End("refused", f"type {page}"))
    assert transfer(renewed=True).judge(200, headers, NOW) == End("refused", f"type {page}")


@pytest.mark.parametrize(
    ("body", "page"),
    [
        (b"<!DOCTYPE html>", "text/html"),
        (b"\xef\xbb\xbf \r\n<HTML>", "text/html"),
        (b"<?xml version='1.0'?><Error>", "application/xml"),
        (b'{"error":1}', "application/json"),
        (b'\n{\n  "error": 1}', "application/json"),
        (b"{}", "application/json"),
        (b"#EXTM3U\n", "application/vnd.apple.mpegurl"),
    ],
)
def test_a_page_is_told_by_its_first_bytes_however_they_come(body: bytes, page: str) -> None:
    for size in (1, 3, len(body)):
        made = transfer(renewed=True)
        made.judge(200, {"Content-Type": "audio/mpeg"}, NOW)
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        assert End("refused", f"type {page}") in [made.take(chunk) for chunk in chunks]


@pytest.mark.parametrize("body", [b"ID3\x04", b"RIFF", b"OggS", b"{\x81\x02", b"<\x00", b" " * 2000 + b"<html"])
def test_audio_is_no_page(body: bytes) -> None:
    made = transfer()
    made.judge(200, {"Content-Type": "application/octet-stream"}, NOW)
    assert [made.take(body[:1]), made.take(body[1:])] == [None, None]


def test_a_body_that_is_coded_is_not_taken() -> None:
    assert transfer().judge(200, AUDIO | {"Content-Encoding": "gzip"}, NOW) == End("failed", "encoding")
    assert transfer().judge(200, AUDIO | {"Content-Encoding": "Identity"}, NOW) == Take(0)


def test_too_large_is_refused_as_said_and_as_sent() -> None:
    too_large = End("refused", "too large")
    assert transfer(max_bytes=9).judge(200, AUDIO, NOW) == too_large
    assert transfer(max_bytes=10).judge(200, AUDIO, NOW) == Take(0)
    made = transfer(max_bytes=9)
    assert made.judge(200, {"Content-Type": "audio/ogg"}, NOW) == Take(0)
    assert [made.take(BODY[:9]), made.take(BODY[9:])] == [None, too_large]
    made = transfer(max_bytes=9)
    assert made.judge(206, partial(0), NOW) == too_large


def test_headers_are_kept_as_text() -> None:
    made = transfer()
    made.judge(200, {"Content-Type": "audio/\udcffmpeg\n", "ETag": "x" * 1000}, NOW)
    assert (made.content_type, made.source_etag) == ("audio/?mpeg?", "x" * 200)


def test_nothing_is_no_recording() -> None:
    made = transfer()
    made.judge(200, {"Content-Type": "audio/mpeg", "Content-Length": "0"}, NOW)
    assert made.ended() == End("failed", "empty")
    assert transfer().judge(204, {}, NOW) == End("failed", "status 204")


def test_three_redirects_are_followed_in_each_attempt() -> None:
    made = transfer()
    for _ in range(2):
        for _ in range(3):
            assert made.judge(302, {"Location": "/there"}, NOW) == Redirect("/there")
        made.ask()
    for _ in range(3):
        made.judge(307, {"Location": "/there"}, NOW)
    assert made.judge(302, {"Location": "/there"}, NOW) == End("failed", "redirects")
    assert transfer().judge(302, {}, NOW) == End("failed", "status 302")


@pytest.mark.parametrize(
    ("content_type", "extension"),
    [
        ("audio/mpeg", "mp3"),
        ("Audio/X-WAV; codec=1", "wav"),
        ("audio/ogg;codecs=opus", "ogg"),
        ("audio/mp4", "m4a"),
        ("video/mp4", "mp4"),
        ("audio/../../etc", "bin"),
        ("", "bin"),
        (None, "bin"),
    ],
)
def test_extensions_come_from_a_list(content_type: str | None, extension: str) -> None:
    assert extension_of(content_type) == extension


@dataclass
class Host:
    """Answers at random: in full or in part, as asked or not, cut, coded, changed. A strong tag never lies."""

    chance: Random
    versions: list[bytes]
    current: int = 0
    sent: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, asked: Mapping[str, str]) -> int:
        """Chooses an answer, and returns its status; `headers` and `sent` are the rest of it."""
        chance = self.chance
        if chance.random() < 0.3:
            self.current = chance.randrange(len(self.versions))
        body, tag = self.versions[self.current], f'"{self.current}"'
        self.headers = {"Content-Type": chance.choice(["audio/mpeg", "", "application/octet-stream"])}
        status = chance.choice([200] * 8 + [403, 404, 416, 429, 500, 503, 204, 302])
        start = int(asked.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if status != 200:
            self.headers |= {"Location": "/elsewhere"} if status == 302 else {}
            return status
        self.headers["ETag"] = chance.choice([tag, tag, tag, f"W/{tag}", "", "broken"])
        if "Range" in asked and (asked["If-Range"] == tag or chance.random() < 0.2) and chance.random() < 0.8:
            status = 206
            start = start if chance.random() < 0.7 else chance.randrange(len(body))
            total = chance.choice([len(body), len(body), "*"])
            if chance.random() < 0.9:
                self.headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{total}"
            body = body[start:]
        elif chance.random() < 0.8:
            self.headers["Content-Length"] = str(len(body))
        self.sent = body
        return status


def download(host: Host, made: Transfer) -> tuple[Step, bytes]:
    """Does what the client does, with a string for a file. A cut shows only where the size is known, or is noticed."""
    file = b""
    while True:
        asked = made.ask()
        while isinstance(step := made.judge(host.answer(asked), host.headers, NOW), Redirect):
            pass
        if isinstance(step, Take):
            assert step.offset in (0, len(file))
            file = file[: step.offset]
            step, file = receive(host, made, file)
        match step:
            case Dead() if host.chance.random() < 0.5:
                made.is_renewed = True
            case Dead():
                return step.end, file
            case End() | Whole():
                return step, file


def receive(host: Host, made: Transfer, file: bytes) -> tuple[Step, bytes]:
    sent, is_cut = host.sent, host.chance.random() < 0.6
    if is_cut:
        sent = sent[: host.chance.randrange(len(sent) + 1)]
    while sent:
        size = host.chance.randrange(1, 9)
        if (step := made.take(sent[:size])) is not None:
            return step, file
        file, sent = file + sent[:size], sent[size:]
    is_noticed = is_cut and ("Content-Length" not in host.headers or host.chance.random() < 0.5)
    return (made.broke() if is_noticed else made.ended()), file


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(max_examples=size_of(400, 20_000), deadline=None)
def test_whatever_a_host_does_the_bytes_are_those_of_one_version(seed: int, sizes: list[int]) -> None:
    chance = Random(seed)
    versions = [bytes(chance.randrange(128, 256) for _ in range(size)) for size in sizes]
    made = Transfer(is_old=chance.random() < 0.5, max_bytes=chance.choice([None, 20]), chance=chance)
    end, file = download(Host(chance, versions), made)
    if isinstance(end, Whole):
        assert file in versions
        assert made.received == len(file)
    else:
        assert isinstance(end, End)
    assert made.attempts < 200


def test_a_host_that_is_often_right_is_often_read() -> None:
    ends = [
        download(Host(Random(seed), [b"\x80" * 40]), Transfer(is_old=True, max_bytes=None, chance=Random(seed)))[0]
        for seed in range(300)
    ]
    assert 100 < sum(isinstance(end, Whole) for end in ends) < 300
