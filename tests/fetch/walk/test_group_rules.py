"""Tests that every rule by which a group is read is needed: without it, the walk loses rows of a small server.

The cases are like those of the walk's own rules (`test_walk_rules`): the rule taken out, and the least server found.
"""

from typing import Any

import pytest

from exporter.contract import Instant
from exporter.fetch.walk import group as group_module
from exporter.fetch.walk import passage as passage_module
from exporter.fetch.walk.approach import Search
from exporter.fetch.walk.group import AskingForIds, Group
from exporter.fetch.walk.walk import Walk
from tests.fetch.walk.server_model import Behaviour, StoredRow
from tests.fetch.walk.test_walk_rules import Asking, Case, Mutation, Outcome, replaced, run


def passes_over_groups(self: Walk[StoredRow], search: Search) -> Asking:
    """Takes the rows that were seen for the whole group, and goes on below it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passage_module, "Group", EmptyGroup)
        return (yield from pass_group(self, search))


class EmptyGroup(Group[StoredRow]):
    def enumerate(self) -> Asking:
        yield from ()


def takes_slices_to_meet(
    self: Group[StoredRow], part: Any, end: Instant, start: Instant, *, most: Instant
) -> AskingForIds[StoredRow]:
    older = yield from self._read(group_module._Slice(part.after, end))
    newer = yield from self._read(group_module._Slice(start, part.before))
    return older | newer


class Forgets(set[str]):
    def __ior__(self, other: object) -> Any:
        return self


def forgets_what_was_named(self: Group[StoredRow], *args: Any) -> None:
    begin(self, *args)
    self._brought = Forgets()


def looks_once(self: Group[StoredRow]) -> Asking:
    yield from ()


begin, pass_group = Group.__init__, Walk._pass_group

MUTATIONS: dict[str, Mutation] = {
    "enumerate groups": replaced(Walk, "_pass_group", passes_over_groups),
    "two slices share a row": replaced(Group, "_read_both", takes_slices_to_meet),
    "slices hold what larger ones named": replaced(Group, "__init__", forgets_what_was_named),
    "what was updated meanwhile": replaced(Group, "_read_again", looks_once),
}

#: Each rule with what goes wrong without it, and the least server found on which that happens.
CASES: tuple[tuple[Outcome, Outcome, Case], ...] = (
    (
        "lost",
        "unproven",
        Case(
            "enumerate groups",
            (
                (0, 0, 100, 0),
                (0, 1000000, 100, 0),
                (0, 2000000, 100, 0),
                (-1000000, 0, 100, 0),
                (1000000, 0, 100, 0),
            ),
            Behaviour(page_cap=2),
            seed=1,
        ),
    ),
    (
        "lost",
        "unproven",
        Case(
            "two slices share a row",
            ((0, 0, 100, 0), (-1, 2000000, 100, 0), (0, 4000000, 100, 0), (-2, 0, 100, 0), (0, 2500000, 100, 0)),
            Behaviour(page_cap=3, updated_reads="cut_s", excludes=frozenset({"updated_after", "updated_before"})),
        ),
    ),
    (
        "lost",
        "unproven",
        Case(
            "slices hold what larger ones named",
            (
                (0, None, 100, 0),
                (0, None, 100, 0),
                (0, None, 100, 0),
                (0, None, 100, 0),
                (0, 3, 100, 0),
                (0, 7, 100, 0),
                (1953, 0, 100, 0),
            ),
            Behaviour(page_cap=6, heavy_cap=3, fills_updated_at=True),
            seed=2,
        ),
    ),
    (
        "lost",
        "exact",
        Case(
            "what was updated meanwhile",
            (
                (0, 3000000, 100, 0),
                (0, 6000000, 100, 0),
                (0, 9000000, 100, 0),
                (0, 11000000, 100, 0),
                (0, 14000000, 100, 0),
                (0, 15000000, 100, 0),
                (-4000000, 3000000, 100, 0),
                (-15000000, 14000000, 100, 0),
            ),
            Behaviour(heavy_cap=3),
            seed=26,
            updates=((18, 4, 3000000),),
        ),
    ),
)


@pytest.mark.parametrize(("fails", "whole", "case"), CASES, ids=lambda value: getattr(value, "name", None))
def test_without_the_rule_the_walk_fails_and_with_it_it_does_not(fails: Outcome, whole: Outcome, case: Case) -> None:
    assert run(case, MUTATIONS[case.name]) == fails
    assert run(case, None) == whole


def test_each_rule_has_its_case() -> None:
    assert {case.name for _, _, case in CASES} == MUTATIONS.keys()
