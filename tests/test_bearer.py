"""A token is read again once for all requests that were refused, and none is ever shown."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

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


def test_all_that_were_refused_share_one_reading() -> None:
    read, calls = kept("ak_2")
    bearer = Bearer("ak_1", TokenSource("the file", read))
    uses = [bearer.use() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        renewed = list(threads.map(bearer.renew, uses, [threading.Event()] * 8))
    assert (renewed, bearer.token, len(calls)) == ([True] * 8, "ak_2", 1)


def test_a_reading_that_finds_nothing_new_counts_for_all_that_were_sent_before_it() -> None:
    read, calls = kept("ak_1", "ak_1", "ak_2")
    bearer = Bearer("ak_1", TokenSource("the file", read))
    early = [bearer.use() for _ in range(8)]
    assert [bearer.renew(use, threading.Event()) for use in early] == [False] * 8
    assert (len(calls), bearer.findings) == (1, "the file still gives the same token")
    late = [bearer.use() for _ in range(2)]
    assert [bearer.renew(use, threading.Event()) for use in late] == [False] * 2
    assert len(calls) == 2
    # What is sent again looks again.
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

    bearer = Bearer("ak_1", TokenSource("the file", read))
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
    bearer = Bearer("ak_0", TokenSource("the file", kept(*tokens)[0]))
    for _ in tokens:
        bearer.renew(bearer.use(), threading.Event())
    # ak_1 begins ak_10 and ak_11.
    assert bearer.hidden("ak_0 ak_1, ak_10/ak_11 ak_12") == "(token) (token), (token)/(token) (token)2"
    for text in (repr(bearer), str(bearer), repr(bearer.use())):
        assert "ak_" not in text


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 2**32))
def test_whatever_rotates_no_request_is_believed_with_an_old_token(rotations: list[bool], seed: int) -> None:
    chance, current = random.Random(seed), 0
    read: ReadToken = lambda _stopped: f"ak_{current}"  # noqa: E731 - it closes over what changes
    bearer, sent = Bearer("ak_0", TokenSource("the file", read)), []
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
