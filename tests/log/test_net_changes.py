"""Net changes are the difference of two tables, whatever commits did in between: a small table is the model."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Coverage, Interval
from exporter.log.net_changes import ChangedRow, FoundRow, Placed, Touched
from exporter.model import Change

#: Conversations by id: where each is, and which version of it.
Rows = Mapping[str, tuple[int, int]]

steps = st.lists(
    st.tuples(st.sampled_from(("put", "put", "put", "drop", "cover", "uncover")), st.integers(0, 5), st.integers(0, 9)),
    max_size=14,
)


class Model:
    """Holds a table of which instants 0 to 9 may be covered."""

    def __init__(self) -> None:
        self.covered = Coverage([Interval(0, 5)])
        self.rows: dict[str, tuple[int, int]] = {}
        self.version = 0

    def step(self, kind: str, which: int, at: int) -> tuple[Change, list[ChangedRow]]:
        """Returns what a commit says of a step, and makes it."""
        name, span = f"c{which}", Interval(at, at + 2)
        self.version += 1
        was = self.rows[name][0] if name in self.rows else None
        if kind == "put" and at in self.covered:
            self.rows[name] = at, self.version
            return Change(), [ChangedRow(name, was, at)]
        if kind == "drop" and was is not None:
            del self.rows[name]
            return Change(), [ChangedRow(name, was, None)]
        if kind == "uncover":
            gone = self.covered & Coverage([span])
            rows = [ChangedRow(known, where, None) for known, (where, _) in self.rows.items() if where in gone]
            self.covered -= gone
            self.rows = {known: row for known, row in self.rows.items() if row[0] not in gone}
            return Change(uncovers=gone.intervals), rows
        if kind == "cover":
            fresh = Coverage([span]) - self.covered
            self.covered |= fresh
            # What lies there need not be told, except where it has left another place.
            if at in fresh:
                self.rows[name] = at, self.version
                return Change(covers=fresh.intervals), [] if was is None else [ChangedRow(name, was, at)]
            return Change(covers=fresh.intervals), []
        return Change(), []


@given(before=steps, between=steps)
def test_they_are_the_difference(before: list[tuple[str, int, int]], between: list[tuple[str, int, int]]) -> None:
    model = Model()
    for step in before:
        model.step(*step)
    then, touched = dict(model.rows), Touched(model.covered)
    for step in between:
        touched.note(*model.step(*step))
    now = model.rows
    followed = {*touched.ids}
    found = [FoundRow(name, at) for name, (at, _) in now.items() if name in followed]
    assert all(row.created_at in touched.places or row.created_at not in touched.kept for row in found)
    placed = touched.decide(found)
    fresh = {name: Placed("insert", at) for name, (at, _) in now.items() if at not in touched.kept}
    told = {**fresh, **placed}
    expected = dict.fromkeys(now.keys() - then.keys(), "insert")
    expected |= dict.fromkeys(then.keys() - now.keys(), "delete")
    expected |= {name: "update" for name in then.keys() & now.keys() if then[name] != now[name]}
    assert {name: one.op for name, one in told.items()} == expected
    for name, one in told.items():
        assert one.created_at == (then if one.op == "delete" else now)[name][0]


def test_one_row_of_each_id_is_given() -> None:
    touched = Touched(Coverage([Interval(0, 5)]))
    touched.note(Change(covers=(Interval(5, 10),)), [])
    touched.watched |= {"moved", "twice", "same"}
    found = [
        FoundRow("moved", 1, (0,)),
        FoundRow("moved", 6, (1,)),
        FoundRow("twice", 7, (1,)),
        FoundRow("twice", 8, (0,)),
        FoundRow("same", 2, (0,)),
        FoundRow("same", 3, (1,)),
    ]
    assert touched.decide(found) == {"moved": Placed("update", 6), "twice": Placed("insert", 7)}
