"""Tests the queue of an engine that cannot be trusted: answers come late, twice, never, or tell of other times."""

from dataclasses import dataclass
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, SECOND
from exporter.coverage import Coverage, Interval, are_disjoint
from exporter.schedule.shares import Piece, Shares
from tests.toolkit.sizes import size_of

T0 = 1_770_000_000 * SECOND // DAY * DAY
DAYS = 30
LEFT = Coverage([Interval(BEGINNING, T0 - 20 * DAY), Interval(T0 - 19 * DAY, T0)])
PAGE = 1000

seconds = st.sampled_from([0.0, 1e-3, 1.0, 60.0, 1e6])
numbers = st.sampled_from([0, 1, 17, PAGE, 40 * PAGE, 10**6, 10**12])
parts_of = st.sampled_from(["whole", "nothing", "one instant", "outside", "many"])


@dataclass(frozen=True)
class Answer:
    """Says which of the tasks under way answers, in what way, and of how many rows."""

    what: str
    which: int
    cut: float
    rows: int
    parts: str
    seconds: float
    slots: int


answers = st.lists(
    st.builds(
        Answer,
        what=st.sampled_from(["read", "read", "read on", "beyond", "failed", "lost", "twice", "nothing"]),
        which=st.integers(0, 50),
        cut=st.floats(0, 1),
        rows=numbers,
        parts=parts_of,
        seconds=seconds,
        slots=st.integers(1, 4),
    ),
    max_size=40,
)


def parts(kind: str, read: Coverage, rows: int) -> list[tuple[Interval, int]]:
    """Returns what a task says of its parts, true or not."""
    if kind == "nothing" or not read:
        return []
    bottom = read.intervals[0].start
    return {
        "whole": [(interval, rows) for interval in read],
        "one instant": [(Interval(bottom, bottom + 1), rows)],
        "outside": [(Interval(T0 + DAY, T0 + 2 * DAY), rows)],
        "many": [(interval, rows) for interval in read for _ in range(3)],
    }[kind]


def upper(piece: Piece, share: float) -> Coverage:
    """Returns the newest share of each window, as the walks of a task leave it."""
    return Coverage(
        Interval(window.end - max(1, int((window.end - max(window.start, T0 - DAYS * DAY)) * share)), window.end)
        for window in piece.windows
        if window.end > T0 - DAYS * DAY
    )


def queue(slots: int, density: float | None) -> Shares:
    return Shares(
        LEFT,
        oldest=T0 - DAYS * DAY,
        density=density,
        slots=slots,
        align=lambda instant: instant // DAY * DAY,
        page_size=PAGE,
    )


@settings(max_examples=size_of(30, 400), deadline=None)
@given(st.integers(1, 4), st.none() | st.floats(1e-9, 1.0), answers)
def test_whatever_an_engine_answers_all_is_read_once_and_by_a_bounded_number_of_tasks(
    slots: int, density: float | None, steps: list[Answer]
) -> None:
    shares = queue(slots, density)
    running: list[Piece] = []
    covered = Coverage()

    def start() -> None:
        while len(running) < shares.slots and (piece := shares.take()) is not None:
            assert 5 <= piece.budget_seconds <= 120 * 2**piece.tries and piece.tries <= 3
            assert piece.density is None or piece.density > 0
            assert len(piece.windows) <= 64 and are_disjoint(piece.windows)
            assert not Coverage(piece.windows) & covered
            running.append(piece)
        assert are_disjoint(window for piece in running for window in piece.windows)

    for step in steps:
        shares.slots = step.slots
        start()
        if not running:
            break
        piece = running.pop(step.which % len(running))
        whole = Coverage(piece.windows)
        read = {"read": whole, "nothing": Coverage(), "lost": Coverage()}.get(step.what, upper(piece, step.cut))
        told = read | Coverage([Interval(T0, T0 + DAY)]) | covered if step.what == "beyond" else read
        if step.what == "lost":
            assert shares.lost(piece) is (piece.tries < 2)
        else:
            met = parts(step.parts, read, step.rows)
            goes_on = shares.ended(piece, told, met, step.seconds, has_failed=step.what == "failed")
            left = whole - read
            is_try = not read & whole or step.what == "failed"
            assert goes_on is not (is_try and bool(left) and piece.tries >= 2)
        covered |= read
        if step.what == "twice":
            before = shares.left_microseconds
            with pytest.raises(KeyError):
                shares.ended(piece, told, [], 1.0)
            with pytest.raises(KeyError):
                shares.lost(piece)
            assert shares.left_microseconds == before
    tasks = 0
    shares.slots = slots
    while True:
        start()
        if not running:
            break
        piece = running.pop(0)
        assert shares.ended(piece, Coverage(piece.windows), [], 1.0)
        covered |= Coverage(piece.windows)
        tasks += 1
        # A piece is at least a thirty-second of a slot's part of its stretch, so that even lies come to an end.
        assert tasks <= 32 * slots * log(DAYS * DAY) + len(steps) * 64
    assert shares.is_done and covered == LEFT
