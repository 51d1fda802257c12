"""Tests that a token is judged by what it sees when it asks again, never by a row without any of the fields."""

from collections.abc import Mapping, Sequence

import pytest

from exporter.errors import AccessError
from exporter.pipeline.role import Role, sees

pytestmark = pytest.mark.anyio


class Api:
    """Answers ids with these fields (None: it is not served), and notes what it is asked."""

    def __init__(self, fields: Mapping[str, frozenset[str] | None], known: Sequence[str] = ()) -> None:
        self.fields = dict(fields)
        self.known = known
        self.asked: list[str] = []
        self.searches = 0
        self.role = Role(self.look, self.find)

    async def look(self, identity: str) -> frozenset[str] | None:
        self.asked.append(identity)
        return self.fields.get(identity)

    async def find(self) -> Sequence[str]:
        self.searches += 1
        return self.known


BARE, WHOLE = frozenset({"id", "status"}), frozenset({"id", "status", "summary"})


async def test_a_row_that_was_seen_with_them_and_comes_with_them_again_shows_the_scope() -> None:
    api = Api({"seen": WHOLE})
    api.role.note("seen", None)
    api.role.note(None, "bare")
    assert not await api.role.withholds()
    assert (api.asked, api.searches) == (["seen"], 0)


async def test_a_row_may_come_without_those_that_were_asked_for_and_with_others() -> None:
    api = Api({"bare": BARE | {"agent"}})
    api.role.note(None, "bare")
    assert not await api.role.withholds()
    assert api.searches == 0


async def test_a_row_that_is_there_with_them_counts_where_the_run_has_seen_none() -> None:
    api = Api({"bare": BARE, "gone": None, "there": WHOLE}, ["gone", "there"])
    api.role.note(None, "bare")
    assert not await api.role.withholds()
    assert (api.asked, api.searches) == (["bare", "gone", "there"], 1)


@pytest.mark.parametrize("known", [["there"], []])
async def test_a_scope_that_is_lost_is_noticed_and_found_out_once(known: list[str]) -> None:
    api = Api({"seen": BARE, "bare": BARE, "there": BARE}, known)
    api.role.note("seen", "bare")
    assert await api.role.withholds()
    asked = len(api.asked)
    api.role.note(None, "another")
    assert await api.role.withholds()
    assert len(api.asked) == asked


async def test_what_comes_with_them_again_is_a_reason_to_look_again() -> None:
    api = Api({"seen": WHOLE})
    api.role.note("seen", None)
    assert not await api.role.withholds()
    api.fields["seen"] = BARE
    assert await api.role.withholds()
    api.role.note("regained", "bare")
    api.fields["regained"] = WHOLE
    assert not await api.role.withholds()


async def test_a_scope_that_is_gained_excuses_no_row_that_came_before_it() -> None:
    api = Api({"before": BARE, "after": WHOLE})
    api.role.note(None, "before")
    await api.role.begin()
    api.role.note("after", None)
    assert await api.role.withholds()


async def test_one_that_was_gained_before_the_first_look_excuses_none() -> None:
    api = Api({"before": WHOLE})
    api.role.note(None, "before")
    await api.role.begin()
    assert await api.role.withholds()


async def test_one_that_was_there_from_the_first_excuses_those_that_have_none() -> None:
    api = Api({"bare": BARE, "there": WHOLE}, ["there"])
    api.role.note(None, "bare")
    await api.role.begin()
    await api.role.begin()
    assert not await api.role.withholds()
    api.fields["there"] = BARE
    assert await api.role.withholds()


async def test_where_nothing_can_be_had_by_its_id_nothing_is_shown() -> None:
    api = Api({})
    api.role.note("seen", "bare")
    assert await api.role.withholds()


async def test_a_null_is_served_to_a_token_that_may_see_it() -> None:
    api = Api({"a": None, "b": BARE, "c": frozenset({"id", "recording_details"})})
    assert await sees(api.look, ("a", "b", "c"))
    assert not await sees(api.look, ("a", "b"))
    assert not await sees(api.look, ())


async def test_what_the_look_raises_is_raised() -> None:
    async def refused(_identity: str) -> frozenset[str] | None:
        raise AccessError("401")

    api = Api({})
    role = Role(refused, api.find)
    role.note(None, "bare")
    with pytest.raises(AccessError):
        await role.withholds()
