import pytest

from exporter.errors import UsageError
from exporter.sandbox import Behaviour, behaviour_from_options


def test_no_options_is_the_default() -> None:
    assert behaviour_from_options([]) == Behaviour()


def test_options_of_every_kind() -> None:
    assert behaviour_from_options(
        ["cursor=inclusive", "page-cap=100", "latency=0.3", "rate=20", "hides_token_created=true", "faults=500, reset"]
    ) == Behaviour(
        cursor="inclusive",
        page_cap=100,
        latency=0.3,
        rate=20,
        hides_token_created=True,
        faults=("500", "reset"),
    )


def test_the_last_of_a_switch_counts_and_values_may_hold_signs() -> None:
    chosen = behaviour_from_options(["offset=Z", "offset=+00:00", "ignores=cursor,limit", "script=ok,500"])
    assert chosen == Behaviour(offset="+00:00", ignores=("cursor", "limit"), script=("ok", "500"))


@pytest.mark.parametrize(
    "text",
    [
        "cursor",
        "=1",
        "curser=strict",
        "cursor=loose",
        "page_cap=0",
        "page_cap=ten",
        "default_limit=1001",
        "fault_rate=1.5",
        "rate=0",
        "latency=-1",
        "latency=nan",
        "faults=501",
        "ignores=page",
        "hides_token_created=perhaps",
        "short_pages=1.5",
        "reads=cut-week",
        "reads=limit:cut-ms",
        "excludes=cursor",
        "changes=page",
        "changes=page_cap=none",
        "changes=order=any",
        "changes_after=-1",
    ],
)
def test_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(UsageError, match="--behaviour"):
        behaviour_from_options([text])


def test_what_changes_is_a_behaviour_of_its_own_from_then_on() -> None:
    changing = behaviour_from_options(["cursor=inclusive", "changes_after=3", "changes=precision=ms, page_cap=20"])
    assert changing == Behaviour(cursor="inclusive", changes_after=3, changes=("precision=ms", "page_cap=20"))
    assert changing.at(3) is changing
    assert changing.at(4) == Behaviour(cursor="inclusive", changes_after=3, precision="ms", page_cap=20)
    assert Behaviour().at(1000) == Behaviour()


def test_refuses_a_rate_of_no_faults() -> None:
    with pytest.raises(UsageError, match="needs faults"):
        behaviour_from_options(["faults=", "fault_rate=0.5"])
