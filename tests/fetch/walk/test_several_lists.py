"""Tests the walk of several lists: each row once, or a doubt named; also where rows go from one list to another."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from exporter.contract import HIDDEN_STATUS, SECOND
from exporter.coverage import Interval
from exporter.errors import ContradictionError
from exporter.fetch.walk.several_lists import JoinedWalk
from exporter.fetch.walk.traits import Traits
from exporter.model import Page, PageRequest, Values
from exporter.settings import Request
from tests.fetch.walk.reader import AnyWalk, Reader, check
from tests.fetch.walk.server_model import T0, Behaviour, ServerModel, StoredRow
from tests.fetch.walk.test_walk_seeds import (
    odd_reads,
    random_limiting,
    random_server,
    random_window,
    read_in_pieces,
)
from tests.toolkit.sizes import size_of

SEEDS = size_of(240, 600, "EXPORTER_WALK_SEEDS")
SHARES = 8
WINDOW = Interval(T0 - SECOND, T0 + 1000 * SECOND)
#: In the order in which a conversation goes through them.
STAGES = ("triggered", "ringing", "in_progress", "completed")
ELSEWHERE = "failed"


class Lists(Reader):
    """Reads windows of several lists as one."""

    def __init__(self, server: ServerModel, lists: Sequence[Values], page_size: int = 1000) -> None:
        super().__init__(server, page_size)
        self.lists = {values: Traits.of_a_part() for values in lists}

    def walk(self, window: Interval) -> AnyWalk:
        # A list of one status holds what other lists hide.
        is_hidden = not any(name == "status" for values in self.lists for name, _ in values)
        return JoinedWalk(window, self.lists, self.page_size, self.server.behaviour.hides if is_hidden else None)


def lists_of(**filters: tuple[str, ...]) -> tuple[Values, ...]:
    return Request(filters=filters).lists


@pytest.mark.parametrize("share", range(SHARES))
def test_every_row_of_every_list_is_handed_out_once_by_servers_of_every_kind(share: int) -> None:
    for seed in range(share, SEEDS, SHARES):
        chance = random.Random(seed)
        server, window = random_server(chance), random_window(chance)
        agents = chance.choice((("a", "b"), ("a", "b", "c", "d")))
        filters = {"agent_id": agents}
        if chance.random() < 0.4:
            filters["status"] = ("completed", HIDDEN_STATUS)
        server.rows = [changed(row, agent_id=chance.choice((*agents, agents[0], "z"))) for row in server.rows]
        reader = Lists(server, lists_of(**filters), page_size=chance.choice((1, 2, 3, 1000)))
        reader.limiting = random_limiting(chance)
        try:
            read_in_pieces(reader, window, chance)
        except ContradictionError as error:
            assert {"cursor", "created_before"} <= server.behaviour.ignores, f"seed {seed}: {error}"
            continue
        assert all(row.agent_id in agents for row in reader.rows)
        # What is in none of the lists is not missing.
        server.rows = [row for row in server.rows if row.agent_id in agents]
        try:
            check(reader, window)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {server.behaviour}: {error}") from error


class MovingServer(ServerModel):
    """Changes the status of some rows before each answer."""

    move: Callable[[StoredRow], str]

    def answer(self, request: PageRequest) -> Page[StoredRow]:
        for number, row in enumerate(self.rows):
            if (status := self.move(row)) != row.status:
                self.rows[number] = changed(row, status=status, updated_at=T0 + self.requests)
        return super().answer(request)


def moving(chance: random.Random, behaviour: Behaviour) -> MovingServer:
    rows = [
        StoredRow(f"c{number}", T0 + chance.randrange(1000) * SECOND, T0, status=chance.choice((*STAGES, ELSEWHERE)))
        for number in range(chance.choice((0, 5, 40, 120)))
    ]
    return MovingServer(rows, behaviour, seed=chance.randint(0, 1000))


def read_all(server: ServerModel, chance: random.Random) -> Lists:
    reader = Lists(server, lists_of(status=tuple(sorted(STAGES))), page_size=chance.choice((2, 5, 1000)))
    read_in_pieces(reader, WINDOW, chance)
    assert max(Counter(row.id for row in reader.rows).values(), default=1) == 1
    return reader


def random_behaviour(chance: random.Random) -> Behaviour:
    return Behaviour(page_cap=chance.choice((3, 8, 1000)), cursor=chance.choice(("strict", "inclusive")))


@pytest.mark.parametrize("seed", range(120))
def test_rows_that_go_on_from_list_to_list_are_not_missed(seed: int) -> None:
    """However often they do so, the last look follows them."""
    chance = random.Random(seed)
    server = moving(chance, random_behaviour(chance))
    pace = chance.choice((0.005, 0.02, 0.1))

    def go_on(row: StoredRow) -> str:
        is_over = row.status in (STAGES[-1], ELSEWHERE)
        return row.status if is_over or chance.random() > pace else STAGES[STAGES.index(row.status) + 1]

    server.move = go_on
    always = {row.id for row in server.rows if row.status != ELSEWHERE}
    reader = read_all(server, chance)
    assert always <= {row.id for row in reader.rows}


@pytest.mark.parametrize("seed", range(120))
@pytest.mark.parametrize("reads_oddly", [False, True], ids=["exact", "odd"])
def test_rows_that_go_to_any_list_once_are_not_missed(seed: int, reads_oddly: bool) -> None:
    chance = random.Random(seed)
    server = moving(chance, random_behaviour(chance))
    if reads_oddly:
        server.behaviour = replace(server.behaviour, **odd_reads(chance))
    moved, pace = set[str](), chance.choice((0.005, 0.02, 0.1))

    def go_anywhere_once(row: StoredRow) -> str:
        if row.status == ELSEWHERE or row.id in moved or chance.random() > pace:
            return row.status
        moved.add(row.id)
        return chance.choice(STAGES)

    server.move = go_anywhere_once
    always = [row for row in server.rows if row.status != ELSEWHERE]
    reader = read_all(server, chance)
    exported = {row.id for row in reader.rows}
    missing = [row.created_at for row in always if row.id not in exported]
    assert all(any(time in doubt.interval for doubt in reader.unproven) for time in missing)


@pytest.mark.parametrize(
    ("behaviour", "seconds", "window", "goes_at_its_end"),
    [
        # The row is of the day that the upper bound is cut to, or of the minute that the lower one is rounded up to.
        (Behaviour(before="date", cursor_reads="date"), 900, WINDOW, False),
        (Behaviour(after="up_min"), 59, Interval(T0 + 58 * SECOND, T0 + 88 * SECOND), True),
    ],
    ids=["top", "bottom"],
)
def test_a_look_is_proven_like_a_walk(
    behaviour: Behaviour, seconds: int, window: Interval, goes_at_its_end: bool
) -> None:
    """A row goes back to the first list while the second one is read, and then stays there."""
    others = [
        StoredRow(f"{status} {age}", T0 + (80 - age) * SECOND, T0, status=status)
        for status in STAGES[2:]
        for age in (*range(5), *range(300_000, 300_005))
    ]
    moved = StoredRow("moved", T0 + seconds * SECOND, T0, status=STAGES[3])
    server = ServerModel([moved, *others], behaviour)
    reader = Lists(server, lists_of(status=STAGES[2:]))
    walk = reader.walk(window)
    while (request := walk.request) is not None:
        is_end = request.ids_only and request.created_after is None
        if ("status", STAGES[3]) in request.values and (is_end or not goes_at_its_end):
            server.rows = [changed(moved, status=STAGES[2]), *others]
        reader.step(walk)
    assert moved.id in {row.id for row in reader.rows}


class ForgetfulServer(ServerModel):
    """Shows only the newest rows to a question that has no lower bound."""

    def answer(self, request: PageRequest) -> Page[StoredRow]:
        rows = self.rows
        if request.created_after is None:
            self.rows = [row for row in rows if row.created_at > T0 + 970 * SECOND]
        page = super().answer(request)
        self.rows = rows
        return page


def test_a_look_that_ends_early_is_asked_for_with_a_lower_bound() -> None:
    others = [
        StoredRow(f"{status} {age}", T0 + (990 - 10 * age) * SECOND, T0, status=status)
        for status in STAGES[2:]
        for age in range(30)
    ]
    moved = StoredRow("moved", T0 + 965 * SECOND, T0, status=STAGES[3])
    server = ForgetfulServer([moved, *others], Behaviour())
    reader = Lists(server, lists_of(status=STAGES[2:]), page_size=5)
    walk = reader.walk(WINDOW)
    while (request := walk.request) is not None:
        if ("status", STAGES[3]) in request.values:
            server.rows = [changed(moved, status=STAGES[2]), *others]
        reader.step(walk)
    assert moved.id in {row.id for row in reader.rows}


def test_rows_that_change_in_every_look_are_named_in_doubt() -> None:
    rows = [StoredRow(f"c{number}", T0 + number * SECOND, T0, status=STAGES[0]) for number in range(100)]
    server = MovingServer(rows, Behaviour())
    fresh = iter(range(10_000))

    def begin(row: StoredRow) -> str:
        return STAGES[0] if row.status == ELSEWHERE and int(row.id[1:]) < 3 * next(fresh) // 100 else row.status

    server.rows = [changed(row, status=ELSEWHERE) for row in rows]
    server.move = begin
    reader = Lists(server, lists_of(status=STAGES))
    reader.read(WINDOW)
    assert "kept going from one value" in reader.unproven[0].reason
    assert len(reader.unproven) == 1


def test_of_two_versions_of_a_row_the_one_that_changed_later_is_handed_out() -> None:
    """Or the one that was read later, where nothing says when it changed."""
    for updated_at, served in ((T0 + 5, "late"), (T0 - 5, "early"), (T0, "late"), (None, "late")):
        early = StoredRow("c", T0, T0, status="in_progress", agent_id="early")
        server = ServerModel([early], Behaviour())
        reader = Lists(server, lists_of(status=("completed", "in_progress")))
        walk = reader.walk(WINDOW)
        while walk.request is not None:
            if ("status", "completed") in walk.request.values:
                server.rows = [changed(early, status="completed", updated_at=updated_at, agent_id="late")]
            reader.step(walk)
        assert [row.agent_id for row in reader.rows] == [served]


def test_a_list_costs_what_it_costs_alone_and_little_is_held_and_looked_at_again() -> None:
    rows = [StoredRow(f"c{number}", T0 + number * SECOND, T0, status=STAGES[number % 4]) for number in range(900)]
    rows = [row if int(row.id[1:]) % 50 else changed(row, status=ELSEWHERE) for row in rows]
    alone = 0
    for status in (*STAGES, ELSEWHERE):
        reader = Reader(ServerModel([row for row in rows if row.status == status], Behaviour()), 20, Traits.of_a_part())
        walk = reader.walk(WINDOW)
        while walk.request is not None:
            alone += not walk.request.ids_only
            reader.step(walk)
    joined = Lists(ServerModel(rows, Behaviour()), lists_of(status=(*STAGES, ELSEWHERE)), page_size=20)
    walk, whole, in_hand = joined.walk(WINDOW), 0, 0
    while walk.request is not None:
        whole += not walk.request.ids_only
        joined.step(walk)
        in_hand = max(in_hand, len(walk._waiting) if isinstance(walk, JoinedWalk) else 0)
    assert len(joined.rows) == 900
    assert whole == alone
    assert in_hand <= 2 * 20 * 5
    assert joined.pages < 3 * whole
