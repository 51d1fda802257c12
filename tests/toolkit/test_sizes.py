import pytest

from tests.toolkit.sizes import THOROUGH, combinations, size_of, some_of


@pytest.fixture(autouse=True)
def everyday(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THOROUGH, raising=False)


def test_a_variable_goes_before_the_kind_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert size_of(3, 30) == size_of(3, 30, "EXPORTER_NO_SUCH") == 3
    monkeypatch.setenv(THOROUGH, "1")
    assert size_of(3, 30) == size_of(3, 30, "EXPORTER_NO_SUCH") == 30
    monkeypatch.setenv("EXPORTER_NO_SUCH", "300")
    assert size_of(3, 30, "EXPORTER_NO_SUCH") == 300


@pytest.mark.parametrize(
    ("counts", "one_in"), [((6, 4), 3), ((3, 4), 3), ((2, 5), 2), ((4, 2, 2), 2), ((2, 4, 2), 3), ((3, 4), 1)]
)
def test_each_choice_is_in_some_combination(
    counts: tuple[int, ...], one_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = [range(count) for count in counts]
    some = combinations(*choices, one_in=one_in)
    for place, each in enumerate(choices):
        assert {drawn[place] for drawn in some} == {*each}
    monkeypatch.setenv(THOROUGH, "1")
    whole = combinations(*choices, one_in=one_in)
    assert len(whole) >= one_in * (len(some) - 1)
    assert set(some) <= set(whole)


def test_only_a_thorough_run_tries_every_choice() -> None:
    one, both = some_of(["a", "b"], "b"), some_of([("a", 1), ("b", 2)], ("b", 2))
    assert (one[0], both[0]) == ("b", ("b", 2))
    assert [(left.values, [mark.name for mark in left.marks]) for left in (one[1], both[1])] == [
        (("a",), ["thorough"]),
        (("a", 1), ["thorough"]),
    ]
    with pytest.raises(AssertionError, match="c"):
        some_of(["a", "b"], "c")
