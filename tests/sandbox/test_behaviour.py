import pytest

from exporter.errors import UsageError
from exporter.sandbox import FAULTS, Behaviour, behaviour_from_options
from exporter.words import any_of


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
        "list_omits=transcript",
        "changes=page",
        "changes=page_cap=none",
        "changes=order=any",
        "changes_after=-1",
    ],
)
def test_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(UsageError, match="--behaviour"):
        behaviour_from_options([text])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cursor", "cursor: must have a value, as in cursor=VALUE"),
        ("curser=strict", "curser=strict: there is no such switch. Did you mean cursor?"),
        ("mood=bad", "mood=bad: there is no such switch. exporter sandbox --help lists the switches"),
        ("cursor=loose", "cursor=loose: must be strict or inclusive"),
        ("order=newst", "order=newst: must be newest, oldest, shuffled or unordered. Did you mean newest?"),
        ("page_cap=ten", "page_cap=ten: must be a whole number, at least 1"),
        ("default_limit=1001", "default_limit=1001: must be a whole number from 1 to 1000"),
        ("fault_rate=1.5", "fault_rate=1.5: must be a number from 0 to 1"),
        ("rate=0", "rate=0: must be a number above 0"),
        ("latency=abc", "latency=abc: must be a number of seconds, at least 0"),
        ("date_ahead=x", "date_ahead=x: must be a number of seconds"),
        ("faults=stal", "faults=stal: no such fault: stal. Did you mean stall?"),
        ("faults=500,zzz", f"faults=500,zzz: no such fault: zzz. It must be {any_of(FAULTS)}"),
        ("script=ok,okk", "script=ok,okk: no such fault: okk. Did you mean ok?"),
        ("ignores=curser", "ignores=curser: there is no such parameter. Did you mean cursor?"),
        ("excludes=cursor", "excludes=cursor: must be created_after, created_before, updated_after or updated_before"),
        ("list_omits=conversaton", "list_omits=conversaton: there is no such field. Did you mean conversation?"),
        ("hides_token_created=perhaps", "hides_token_created=perhaps: must be true or false"),
        ("changes=order=any", "order=any: must be newest, oldest, shuffled or unordered"),
    ],
)
def test_says_what_a_value_must_be_in_words_for_people(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        behaviour_from_options([text])
    assert str(raised.value) == f"--behaviour {said}"


def test_what_changes_is_a_behaviour_of_its_own_from_then_on() -> None:
    changing = behaviour_from_options(["cursor=inclusive", "changes_after=3", "changes=precision=ms, page_cap=20"])
    assert changing == Behaviour(cursor="inclusive", changes_after=3, changes=("precision=ms", "page_cap=20"))
    assert changing.at(3) is changing
    assert changing.at(4) == Behaviour(cursor="inclusive", changes_after=3, precision="ms", page_cap=20)
    assert Behaviour().at(1000) == Behaviour()


def test_refuses_a_rate_of_no_faults() -> None:
    with pytest.raises(UsageError, match="needs faults"):
        behaviour_from_options(["faults=", "fault_rate=0.5"])
