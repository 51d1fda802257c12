"""Tests who gets a turn, and when, among runs that share tokens and hosts."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fetch.pace.quota import Quota
from exporter.fleet.turnstile import Turnstile
from exporter.run.turn_messages import (
    Ask,
    FromRun,
    Join,
    PageTook,
    Passed,
    Refused,
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
    assert made.turns(0.0) == ([], inf)
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
            workers[name] = turn.workers
            made.receive(name, PageTook(seconds=0.5), now)
            made.receive(name, Passed(number=turn.number), now + 0.1)
        now += 0.5
    assert workers == {"a": 8, "b": 8}
    made.receive("idle", join(max_rps=4.0), now)
    made.receive("a", Ask(number=number["a"] + 1), now + 5)
    # Four a second of half a second each are two at once, or three with those that come late, for three at work.
    assert made.turns(now + 5)[0][0][1].workers == 1


@pytest.mark.parametrize(
    "messages",
    [
        [Ask(number=1)],
        [join(), Ask(number=1), Ask(number=2)],
        [join(), Passed(number=1)],
        [join(), Ask(number=1), Withdraw(number=1), Withdraw(number=1)],
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
