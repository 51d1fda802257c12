"""Tests who gets a turn, and when, among runs that share tokens and hosts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fetch.pace.quota import Quota
from exporter.fetch.pace.retry import LONGEST_RETRY_AFTER_SECONDS
from exporter.fleet.turnstile import LONGEST_TURN_SECONDS, Turnstile
from exporter.run.turn_messages import (
    Ask,
    Denied,
    FromRun,
    Join,
    PageTook,
    Passed,
    Refused,
    ToRun,
    Turn,
    TurnMessageError,
    Withdraw,
    digest_of,
)

HOST, OTHER = "https://one.test", "https://two.test"


def join(token: str = "one", host: str = HOST, max_rps: float | None = None, concurrency: int = 8) -> Join:
    return Join(origin=host, token=digest_of(token), concurrency=concurrency, max_rps=max_rps)


def turnstile(**joins: Join) -> Turnstile:
    made = Turnstile()
    for name, each in joins.items():
        made.receive(name, each, 0.0)
    return made


def ask(made: Turnstile, *names: str, number: int = 1, now: float = 0.0) -> list[str]:
    """Returns who gets a turn when these ask."""
    for name in names:
        made.receive(name, Ask(number=number), now)
    return [name for name, _ in made.turns(now)[0]]


def ask_all(made: Turnstile, *names: str, now: float) -> list[tuple[str, ToRun]]:
    for name in names:
        made.receive(name, Ask(number=1), now)
    return made.turns(now)[0]


def test_runs_of_one_token_share_what_is_learned_of_it() -> None:
    made = turnstile(a=join(), b=join(), c=join("another"))
    # At first two requests of a token may be under way.
    assert ask(made, "a", "b") == ["a", "b"]
    assert ask(made, "a", number=2) == []
    assert ask(made, "c") == ["c"]
    made.receive("b", Refused(number=1, status=429, retry_after_seconds=60), 1.0)
    made.receive("b", Ask(number=2), 1.0)
    given, wait = made.turns(1.0)
    assert not given
    assert wait == pytest.approx(60)


def test_nobody_waits_for_a_host_that_wants_to_be_left_alone_for_long() -> None:
    made = turnstile(a=join(), b=join(), c=join("another"))
    assert ask(made, "a") == ["a"]
    made.receive("b", Ask(number=1), 0.0)
    made.receive("c", Ask(number=1), 0.0)
    made.receive("a", Refused(number=1, status=429, retry_after_seconds=3600, reason="slow"), 1.0)
    given = dict(made.turns(1.0)[0])
    assert given == {"b": Denied(number=1, status=429, retry_after_seconds=3600, reason="slow"), "c": given["c"]}
    assert isinstance(given["c"], Turn)
    # Until its time is over, the same holds for a run that comes later, however short a refusal is that comes late.
    made.receive("later", join(), 1000.0)
    ((_, denied),) = [each for each in ask_all(made, "later", now=1000.0) if each[0] == "later"]
    assert denied == Denied(number=1, status=429, retry_after_seconds=2601, reason="slow")
    assert ask(made, "later", number=2, now=3601.0) == ["later"]


def test_a_wait_that_a_run_waits_for_itself_is_waited_for_by_all() -> None:
    made = turnstile(a=join(), b=join())
    ask(made, "a")
    made.receive("a", Refused(number=1, status=429, retry_after_seconds=LONGEST_RETRY_AFTER_SECONDS), 0.0)
    assert ask(made, "b") == []
    assert made.turns(0.0)[1] == pytest.approx(LONGEST_RETRY_AFTER_SECONDS)


def test_a_run_that_stands_still_keeps_its_turns_from_others_for_no_longer_than_a_request() -> None:
    made = turnstile(still=join(), b=join())
    assert ask(made, "still") + ask(made, "still", number=2) == ["still", "still"]
    assert ask(made, "b") == []
    _, wait = made.turns(100.0)
    assert wait == LONGEST_TURN_SECONDS - 100.0
    assert [name for name, _ in made.turns(100.0 + wait)[0]] == ["b"]
    # What it says of them when it goes on is no error, and each can be said once.
    made.receive("still", Passed(number=1), 500.0)
    made.receive("still", Refused(number=2, status=429, retry_after_seconds=3600), 500.0)
    assert ask(made, "still", number=3, now=500.0) == ["still"]
    with pytest.raises(TurnMessageError):
        made.receive("still", Passed(number=1), 500.0)


def test_a_run_whose_token_is_renewed_shares_with_those_that_have_the_new_one() -> None:
    made = turnstile(a=join("old"), b=join("old"))
    assert ask(made, "a", "b") == ["a", "b"]
    made.receive("a", join("new"), 1.0)
    made.receive("later", join("new"), 1.0)
    # The turns of the former token are still under way.
    assert ask(made, "later", now=1.0) == []
    made.receive("a", Passed(number=1), 1.0)
    assert [name for name, _ in made.turns(1.0)[0]] == ["later"]
    made.receive("later", Refused(number=1, status=429, retry_after_seconds=60), 2.0)
    assert ask(made, "a", number=2, now=2.0) == []
    assert made.turns(2.0)[1] == pytest.approx(60)


def test_a_quota_that_one_run_is_told_holds_for_the_others() -> None:
    made = turnstile(a=join(), b=join())
    ask(made, "a")
    made.receive("a", Passed(number=1, quota=Quota(0, 30.0)), 0.1)
    # One request tries whether the quota means what it says; all others wait for its answer.
    assert ask(made, "b", now=0.2) == ["b"]
    assert ask(made, "a", number=2, now=0.3) == []


def test_runs_take_turns_in_the_order_in_which_they_began_to_wait() -> None:
    made = turnstile(a=join(max_rps=10), b=join("another"), c=join("third"))
    order = ask(made, "a", "b", "c")
    now = 0.0
    while len(order) < 9:
        name, number = order[-1], order.count(order[-1])
        made.receive(name, Passed(number=number), now)
        made.receive(name, Ask(number=number + 1), now)
        now += made.turns(now)[1]
        order += [name for name, _ in made.turns(now)[0]]
    assert "".join(order) == "abcabcabc"


def test_what_others_send_without_turns_comes_off_the_ceiling_and_turns_keep_an_eighth() -> None:
    made = turnstile(a=join(max_rps=10), b=join("another", max_rps=40))
    assert (made.ceiling_of(HOST), made.ceiling_of(OTHER)) == (10, None)
    made.lend(OTHER, 5.0)
    # How long a turn comes after the one before says how many there are a second.
    for number, (lent, per_second) in enumerate([(0.0, 10.0), (6.0, 4.0), (10.0, 1.25), (30.0, 1.25), (0.0, 10.0)], 1):
        made.lend(HOST, lent)
        now = 100.0 * number
        assert ask(made, "a", "b", number=number, now=now) == ["a"]
        assert made.turns(now)[1] == pytest.approx(1 / per_second, rel=0.04)
        made.receive("a", Passed(number=number), now)
        made.receive("b", Withdraw(number=number), now)
    assert made.ceiling_of(HOST) == 10


def test_the_lowest_ceiling_of_the_runs_at_a_host_is_that_of_the_host() -> None:
    made = turnstile(a=join(max_rps=10), b=join("another", max_rps=2), far=join(host=OTHER))
    assert ask(made, "a", "b") == ["a"]
    assert made.turns(0.0)[1] == pytest.approx(0.55, abs=0.1)
    # Another host has no ceiling, and none of its runs waits for this one.
    assert ask(made, "far") == ["far"]
    made.leave("b", 0.0)
    made.receive("a", Passed(number=1), 0.0)
    made.receive("a", Ask(number=2), 0.0)
    assert made.turns(0.0)[1] == pytest.approx(0.1)


def test_a_run_that_ends_gives_its_turns_back() -> None:
    made = turnstile(a=join(), b=join())
    assert ask(made, "a") == ["a"]
    assert ask(made, "a", number=2) == ["a"]
    assert ask(made, "b") == []
    assert made.turns(0.0) == ([], LONGEST_TURN_SECONDS)
    made.leave("a", 0.5)
    assert [name for name, _ in made.turns(0.5)[0]] == ["b"]
    made.leave("nobody", 0.5)


def test_a_turn_that_is_not_needed_goes_to_the_next() -> None:
    made = turnstile(a=join(max_rps=1), b=join(), c=join())
    assert ask(made, "a", "b", "c") == ["a"]
    made.receive("b", Withdraw(number=1), 0.1)
    # It may also be withdrawn after it was given.
    made.receive("a", Withdraw(number=1), 0.2)
    _, wait = made.turns(0.2)
    assert [name for name, _ in made.turns(0.2 + wait)[0]] == ["c"]


def test_workers_are_shared_among_the_runs_that_ask() -> None:
    made = turnstile(a=join(), b=join(), idle=join())
    now, number = 0.0, {"a": 0, "b": 0}
    workers = {}
    for _ in range(40):
        for name in number:
            number[name] += 1
            made.receive(name, Ask(number=number[name]), now)
        for name, turn in made.turns(now)[0]:
            assert isinstance(turn, Turn)
            workers[name] = turn.workers
            made.receive(name, PageTook(seconds=0.5), now)
            made.receive(name, Passed(number=turn.number), now + 0.1)
        now += 0.5
    assert workers == {"a": 8, "b": 8}
    made.receive("idle", join(max_rps=4.0), now)
    made.receive("a", Ask(number=number["a"] + 1), now + 5)
    # Four a second of half a second each are two at once, or three with those that come late, for three at work.
    ((_, turn),) = made.turns(now + 5)[0]
    assert isinstance(turn, Turn)
    assert turn.workers == 1


@pytest.mark.parametrize(
    "messages",
    [
        [Ask(number=1)],
        [join(), Ask(number=1), Ask(number=2)],
        [join(), Passed(number=1)],
        [join(), Ask(number=1), Withdraw(number=1), Withdraw(number=1)],
        [join(), join(host=OTHER)],
        [join(), Ask(number=1), join("another")],
    ],
)
def test_messages_that_make_no_sense_are_refused(messages: list[FromRun]) -> None:
    made = Turnstile()
    with pytest.raises(TurnMessageError):
        for message in messages:
            made.receive("a", message, 0.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "pass", "refuse", "leave", "withdraw"]))))
def test_nobody_waits_for_ever_and_no_more_is_given_than_asked(steps: list[tuple[str, str]]) -> None:
    made, now, numbers = Turnstile(), 0.0, dict.fromkeys("abc", 0)
    waiting: dict[str, int] = {}
    under_way: dict[str, list[int]] = {name: [] for name in "abc"}
    for name in "abc":
        made.receive(name, join(name if name == "c" else "shared", max_rps=5.0 if name == "b" else None), now)

    def give() -> float:
        turns, wait = made.turns(now)
        for name, turn in turns:
            assert waiting.pop(name) == turn.number
            under_way[name].append(turn.number)
        return wait

    for name, step in steps:
        now += 0.01
        if step == "ask" and name not in waiting:
            numbers[name] += 1
            waiting[name] = numbers[name]
            made.receive(name, Ask(number=numbers[name]), now)
        elif step == "withdraw" and name in waiting:
            made.receive(name, Withdraw(number=waiting.pop(name)), now)
        elif step == "pass" and under_way[name]:
            made.receive(name, Passed(number=under_way[name].pop()), now)
        elif step == "refuse" and under_way[name]:
            made.receive(name, Refused(number=under_way[name].pop(), status=503), now)
        elif step == "leave":
            waiting.pop(name, None)
            under_way[name].clear()
            made.leave(name, now)
            made.receive(name, join(name), now)
        give()
    for name in "abc":
        for number in under_way[name]:
            made.receive(name, Passed(number=number), now)
        under_way[name].clear()
    for _ in range(200):
        wait = give()
        for name in "abc":
            for number in under_way[name]:
                made.receive(name, Passed(number=number), now)
            under_way[name].clear()
        if not waiting:
            break
        now += min(wait, 60.0)
    assert not waiting
