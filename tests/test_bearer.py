"""A token is read again once for all requests that were refused, and none is ever shown."""

import random
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bearer import Bearer, ReadToken, TokenSource
from exporter.errors import UsageError


def kept(*tokens: str) -> tuple[ReadToken, list[threading.Event]]:
    """Returns what gives these tokens in turn, the last one for ever, and what it was called with."""
    left, calls = list(tokens), []

    def read(stopped: threading.Event) -> str:
        calls.append(stopped)
        return left.pop(0) if len(left) > 1 else left[0]

    return read, calls


def later() -> Callable[[], float]:
    """Returns a clock by which each pause is over the next time."""
    return count(100.0, 100.0).__next__


def test_all_that_were_refused_share_one_reading() -> None:
    read, calls = kept("ak_2")
    bearer = Bearer("ak_1", TokenSource("the file", read))
    uses = [bearer.use() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        renewed = list(threads.map(bearer.renew, uses, [threading.Event()] * 8))
    assert (renewed, bearer.token, len(calls)) == ([True] * 8, "ak_2", 1)


def test_a_reading_that_finds_nothing_new_counts_for_all_that_were_sent_before_it() -> None:
    read, calls = kept("ak_1", "ak_1", "ak_2")
    now = [100.0]
    bearer = Bearer("ak_1", TokenSource("the file", read), lambda: now[0])
    early = [bearer.use() for _ in range(8)]
    assert [bearer.renew(use, threading.Event()) for use in early] == [False] * 8
    assert (len(calls), bearer.findings) == (1, "the file still gives the same token")
    now[0] += 2
    late = [bearer.use() for _ in range(2)]
    assert [bearer.renew(use, threading.Event()) for use in late] == [False] * 2
    assert len(calls) == 2
    # What is sent again looks again, after a pause.
    assert not bearer.renew(bearer.use(), threading.Event())
    assert len(calls) == 2
    now[0] += 2
    assert bearer.renew(bearer.use(), threading.Event())
    assert [bearer.renew(use, threading.Event()) for use in (*early, *late)] == [True] * 10
    assert (len(calls), bearer.token, bearer.findings) == (3, "ak_2", "")


def test_a_reading_that_fails_says_so_and_the_next_one_may_succeed() -> None:
    outcomes: Iterator[object] = iter([UsageError("--token-file x: gone"), "ak_2"])

    def read(_stopped: threading.Event) -> str:
        outcome = next(outcomes)
        if isinstance(outcome, UsageError):
            raise outcome
        return str(outcome)

    bearer = Bearer("ak_1", TokenSource("the file", read), later())
    assert not bearer.renew(bearer.use(), threading.Event())
    assert bearer.findings == "reading the token again failed: --token-file x: gone"
    assert bearer.renew(bearer.use(), threading.Event())
    assert bearer.findings == ""


def test_a_token_without_a_place_is_never_read() -> None:
    bearer = Bearer("ak_1")
    assert not bearer.renew(bearer.use(), threading.Event())
    assert bearer.findings == ""


def test_the_end_of_a_token_is_not_that_of_the_next() -> None:
    bearer = Bearer("ak_1", TokenSource("the file", kept("ak_2")[0]))
    bearer.expires_at = 1
    bearer.renew(bearer.use(), threading.Event())
    assert bearer.expires_at is None


def test_no_former_token_is_shown() -> None:
    tokens = [f"ak_{number}" for number in range(1, 12)]
    bearer = Bearer("ak_0", TokenSource("the file", kept(*tokens)[0]), later())
    for _ in tokens:
        bearer.renew(bearer.use(), threading.Event())
    # ak_1 begins ak_10 and ak_11.
    assert bearer.hidden("ak_0 ak_1, ak_10/ak_11 ak_12") == "(token) (token), (token)/(token) (token)2"
    for text in (repr(bearer), str(bearer), repr(bearer.use())):
        assert "ak_" not in text


def test_a_token_that_is_refused_at_once_is_read_again_after_half_a_minute_or_once_it_was_accepted() -> None:
    read, calls = kept("ak_2", "ak_3", "ak_4", "ak_5")
    now = [100.0]
    bearer = Bearer("ak_1", TokenSource("the command", read), lambda: now[0])
    old = bearer.use()
    assert bearer.renew(old, threading.Event())
    for _ in range(40):
        assert not bearer.renew(bearer.use(), threading.Event())
    assert (len(calls), bearer.findings) == (1, "the command gave that token only just now")
    # A late answer to the token before says nothing of this one.
    bearer.accept(old)
    assert not bearer.renew(bearer.use(), threading.Event())
    now[0] += 30
    assert bearer.renew(bearer.use(), threading.Event())
    bearer.accept(bearer.use())
    assert bearer.renew(bearer.use(), threading.Event())
    assert (len(calls), bearer.token) == (3, "ak_4")


LONG = "ak_51c0ffee.7D1f0c93-e2b84a65+/x"


@pytest.mark.parametrize(
    "echo",
    [
        LONG,
        LONG.upper(),
        LONG.lower(),
        LONG[:12],
        LONG[9:22],
        LONG[-12:],
        quote(LONG, safe=""),
        quote(quote(LONG, safe=""), safe=""),
        "".join(f"%{ord(letter):02x}" for letter in LONG),
    ],
)
def test_a_token_is_hidden_in_whatever_form_a_server_repeats_it(echo: str) -> None:
    assert Bearer(LONG).hidden(f"Unknown key {echo}, 100%!") == "Unknown key (token), 100%!"


@pytest.mark.parametrize("before", ["", "B", "Be", "Bearer "])
@pytest.mark.parametrize("behind", ["", "\n", "\r\n"])
def test_a_token_in_base64_is_hidden(before: str, behind: str) -> None:
    echo = b64encode(f"{before}{LONG}{behind}".encode()).decode()
    for text in (echo, echo.translate(str.maketrans("+/", "-_"))):
        hidden = Bearer(LONG).hidden(f"got {text}")
        assert hidden.count("(token)") == 1
        # At most the characters at the ends, which mix the token with what is around it.
        assert len(hidden) <= len("got (token)") + len(b64encode(before.encode())) + 8


@given(st.text(max_size=40), st.text("aB1%2-", max_size=20), st.text(max_size=40))
def test_no_run_of_a_token_is_left_and_other_texts_stay_as_they_are(before: str, middle: str, behind: str) -> None:
    bearer = Bearer("aB1-aB2-aB1%2B1-a21")
    hidden = bearer.hidden(before + middle + behind)
    assert bearer.hidden(bearer.token) == "(token)"
    lower = hidden.lower()
    assert not any(bearer.token.lower()[start : start + 12] in lower for start in range(8))
    assert Bearer(LONG).hidden(before + behind) == before + behind


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 2**32))
def test_whatever_rotates_no_request_is_believed_with_an_old_token(rotations: list[bool], seed: int) -> None:
    chance, current = random.Random(seed), 0
    read: ReadToken = lambda _stopped: f"ak_{current}"  # noqa: E731 - it closes over what changes
    bearer, sent = Bearer("ak_0", TokenSource("the file", read), later()), []
    for rotates in rotations:
        sent.append(bearer.use())
        current += rotates
        use = sent.pop(chance.randrange(len(sent))) if chance.random() < 0.7 else None
        if use is None or use.token == f"ak_{current}":
            continue
        before, is_spoken_for = bearer.token, bearer.use().readings > use.readings
        renewed = bearer.renew(use, threading.Event())
        assert renewed == (bearer.token != use.token)
        # A reading from before the request was sent never counts.
        assert bearer.token == (before if before != use.token or is_spoken_for else f"ak_{current}")
